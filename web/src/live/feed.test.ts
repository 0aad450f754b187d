import { describe, expect, it } from "vitest";
import type { Session } from "../api/types";
import { delay, heed, KEPT, type Message, NOTHING, type Online } from "./feed";
import { START_TIME, makeSession } from "../fixtures";

const NOW = Date.parse(START_TIME);

const snapshot = (ids: string[], part = 1, parts = 1, live = true): Message => ({
  type: "snapshot", sequence: 0, timestamp: START_TIME, data: { live, part, parts, sessions: ids.map((id) => makeSession(id)), subject: null },
});
const whose = (subject: string | null, sessions: Session[]): Message => ({
  type: "snapshot", sequence: 0, timestamp: START_TIME, data: { live: true, part: 1, parts: 1, sessions, subject },
});
const delta = (type: "session_start" | "session_update" | "session_end", sequence: number, data: Session): Message => ({
  type, sequence, timestamp: START_TIME, session_id: data.session_id, data,
});
const told = (before: Online, ...messages: Message[]): Online => {
  const after = heed(before, messages, NOW);
  if (after === null) throw new Error("a gap");
  return after;
};
const ids = (online: Online): string[] => [...online.sessions.keys()].sort();

describe("the feed", () => {
  it("shows a snapshot and what changes", () => {
    let online = told(NOTHING, snapshot(["a", "b"]));
    expect([online.live, ids(online)]).toEqual([true, ["a", "b"]]);
    online = told(online, delta("session_start", 1, makeSession("c")), delta("session_update", 2, makeSession("a", { login: "bob" })));
    expect([ids(online), online.sessions.get("a")?.login]).toEqual([["a", "b", "c"], "bob"]);
    const end = makeSession("b", { status: "closed", reason: "UserExit", end_time: "2026-01-02T03:04:04.9Z" });
    online = told(online, delta("session_end", 3, end));
    expect([ids(online), online.ended.map((it) => it.session.session_id)]).toEqual([["a", "c"], ["b"]]);
    expect(delay(online.ended[0]!)).toBe(100);
  });

  it("takes whatever does not follow for a gap", () => {
    const online = told(NOTHING, snapshot(["a"]));
    expect(heed(online, [delta("session_start", 2, makeSession("b"))], NOW)).toBeNull();
    expect(heed(online, [{ type: "heartbeat", sequence: 1, timestamp: START_TIME }], NOW)).toBeNull();
    expect(heed(online, [snapshot(["b"], 2, 2)], NOW)).toBeNull();
    expect(heed(online, [snapshot(["b"], 1, 2), delta("session_start", 1, makeSession("c"))], NOW)).toBeNull();
    expect(heed(online, [{ type: "heartbeat", sequence: 0, timestamp: START_TIME }], NOW)?.live).toBe(true);
  });

  it("changes nothing before a snapshot has come whole", () => {
    const half = told(told(NOTHING, snapshot(["a"])), snapshot(["b"], 1, 2));
    expect(ids(half)).toEqual(["a"]);
    const whole = told(half, snapshot(["c"], 2, 2));
    expect(ids(whole)).toEqual(["b", "c"]);
  });

  it("says of what a snapshot lacks that it has ended, and keeps an old picture as old", () => {
    const online = told(NOTHING, snapshot(["a", "b"]));
    const unknown = told(online, snapshot([], 1, 1, false));
    expect([unknown.live, ids(unknown), unknown.ended]).toEqual([false, ["a", "b"], []]);
    const after = told(unknown, snapshot(["b"]));
    expect([after.live, ids(after), after.ended.map((it) => it.session.session_id)]).toEqual([true, ["b"], ["a"]]);
    expect(delay(after.ended[0]!)).toBeNull();
    expect(told(after, { type: "stale", sequence: 0, timestamp: START_TIME }).live).toBe(false);
  });

  it("says of nothing that it has ended that this person no longer sees, however they have come to know", () => {
    const sessions = [makeSession("a"), makeSession("b"), makeSession("c", { subject: "bob" })];
    const online = told(NOTHING, whose(null, sessions));
    const ended = (after: Online): string[] => after.ended.map((it) => it.session.session_id).sort();
    expect(ended(told(online, whose("alice", sessions.slice(0, 1))))).toEqual(["b"]);
    expect(ended(told(online, whose(null, sessions.slice(0, 1))))).toEqual(["b", "c"]);
  });

  it("measures by the console's clock, whatever the browser's is", () => {
    const hour = 3_600_000;
    const online = heed(NOTHING, [snapshot(["a"])], NOW + hour)!;
    const end = makeSession("a", { status: "closed", end_time: START_TIME });
    const after = heed(online, [{ ...delta("session_end", 1, end), timestamp: "2026-01-02T03:04:05.05Z" } as Message], NOW + hour + 80)!;
    expect(delay(after.ended[0]!)).toBe(80);
  });

  it("notes what sessions do, and passes over what it does not know", () => {
    const activity: Message = { type: "activity", sequence: 0, timestamp: START_TIME, data: { "s-a": { idle_seconds: 3, bytes_in: 1, bytes_out: null } } };
    const news = { type: "weather", sequence: 0, timestamp: START_TIME } as unknown as Message;
    const online = told(told(NOTHING, snapshot(["a"])), activity, news, delta("session_start", 1, makeSession("b")));
    expect(online.activity.get("s-a")).toEqual({ idle_seconds: 3, bytes_in: 1, bytes_out: null, at: NOW });
    expect([online.starts, online.heard]).toEqual([[NOW], NOW]);
  });

  it("keeps no more of those that ended than it shows", () => {
    const many = Array.from({ length: KEPT + 20 }, (_, number) => String(number));
    const online = told(NOTHING, snapshot(many));
    const after = told(online, ...many.map((id, at) => delta("session_end", at + 1, makeSession(id, { status: "closed" }))));
    expect([after.sessions.size, after.ended.length, after.ended[0]?.session.session_id]).toEqual([0, KEPT, String(KEPT + 19)]);
  });
});
