import { describe, expect, it } from "vitest";
import type { Session } from "../api/types";
import { makeSession, START_TIME } from "../fixtures";
import { applyMessages, displayDelay, EMPTY_FEED, type FeedMessage, type FeedState, MAX_KEPT } from "./feedState";

const NOW = Date.parse(START_TIME);

const snapshot = (ids: string[], part = 1, parts = 1, live = true): FeedMessage => ({
  type: "snapshot", sequence: 0, timestamp: START_TIME, data: { live, part, parts, sessions: ids.map((id) => makeSession(id)), subject: null },
});
const snapshotOf = (subject: string | null, sessions: Session[]): FeedMessage => ({
  type: "snapshot", sequence: 0, timestamp: START_TIME, data: { live: true, part: 1, parts: 1, sessions, subject },
});
const makeDelta = (type: "session_start" | "session_update" | "session_end", sequence: number, data: Session): FeedMessage => ({
  type, sequence, timestamp: START_TIME, session_id: data.session_id, data,
});
const apply = (before: FeedState, ...messages: FeedMessage[]): FeedState => {
  const after = applyMessages(before, messages, NOW);
  if (after === null) throw new Error("a gap");
  return after;
};
const ids = (online: FeedState): string[] => [...online.sessions.keys()].sort();

describe("the feed", () => {
  it("applies a snapshot and its deltas", () => {
    let online = apply(EMPTY_FEED, snapshot(["a", "b"]));
    expect([online.live, ids(online)]).toEqual([true, ["a", "b"]]);
    online = apply(online, makeDelta("session_start", 1, makeSession("c")), makeDelta("session_update", 2, makeSession("a", { login: "bob" })));
    expect([ids(online), online.sessions.get("a")?.login]).toEqual([["a", "b", "c"], "bob"]);
    const end = makeSession("b", { status: "closed", reason: "UserExit", end_time: "2026-01-02T03:04:04.9Z" });
    online = apply(online, makeDelta("session_end", 3, end));
    expect([ids(online), online.ended.map((it) => it.session.session_id)]).toEqual([["a", "c"], ["b"]]);
    expect(displayDelay(online.ended[0]!)).toBe(100);
  });

  it("reports a gap for a message that does not follow", () => {
    const online = apply(EMPTY_FEED, snapshot(["a"]));
    expect(applyMessages(online, [makeDelta("session_start", 2, makeSession("b"))], NOW)).toBeNull();
    expect(applyMessages(online, [{ type: "heartbeat", sequence: 1, timestamp: START_TIME }], NOW)).toBeNull();
    expect(applyMessages(online, [snapshot(["b"], 2, 2)], NOW)).toBeNull();
    expect(applyMessages(online, [snapshot(["b"], 1, 2), makeDelta("session_start", 1, makeSession("c"))], NOW)).toBeNull();
    expect(applyMessages(online, [{ type: "heartbeat", sequence: 0, timestamp: START_TIME }], NOW)?.live).toBe(true);
  });

  it("changes nothing before a snapshot is complete", () => {
    const half = apply(apply(EMPTY_FEED, snapshot(["a"])), snapshot(["b"], 1, 2));
    expect(ids(half)).toEqual(["a"]);
    const whole = apply(half, snapshot(["c"], 2, 2));
    expect(ids(whole)).toEqual(["b", "c"]);
  });

  it("counts sessions that a snapshot lacks as ended, and keeps old sessions as not live", () => {
    const online = apply(EMPTY_FEED, snapshot(["a", "b"]));
    const unknown = apply(online, snapshot([], 1, 1, false));
    expect([unknown.live, ids(unknown), unknown.ended]).toEqual([false, ["a", "b"], []]);
    const after = apply(unknown, snapshot(["b"]));
    expect([after.live, ids(after), after.ended.map((it) => it.session.session_id)]).toEqual([true, ["b"], ["a"]]);
    expect(displayDelay(after.ended[0]!)).toBeNull();
    expect(apply(after, { type: "stale", sequence: 0, timestamp: START_TIME }).live).toBe(false);
  });

  it("does not count sessions as ended that the user may no longer see", () => {
    const sessions = [makeSession("a"), makeSession("b"), makeSession("c", { subject: "bob" })];
    const online = apply(EMPTY_FEED, snapshotOf(null, sessions));
    const ended = (after: FeedState): string[] => after.ended.map((it) => it.session.session_id).sort();
    expect(ended(apply(online, snapshotOf("alice", sessions.slice(0, 1))))).toEqual(["b"]);
    expect(ended(apply(online, snapshotOf(null, sessions.slice(0, 1))))).toEqual(["b", "c"]);
  });

  it("measures by the console's clock, not the browser's", () => {
    const hour = 3_600_000;
    const online = applyMessages(EMPTY_FEED, [snapshot(["a"])], NOW + hour)!;
    const end = makeSession("a", { status: "closed", end_time: START_TIME });
    const after = applyMessages(online, [{ ...makeDelta("session_end", 1, end), timestamp: "2026-01-02T03:04:05.05Z" } as FeedMessage], NOW + hour + 80)!;
    expect(displayDelay(after.ended[0]!)).toBe(80);
  });

  it("records activity, and ignores unknown messages", () => {
    const activity: FeedMessage = { type: "activity", sequence: 0, timestamp: START_TIME, data: { "s-a": { idle_seconds: 3, bytes_in: 1, bytes_out: null } } };
    const unknown = { type: "weather", sequence: 0, timestamp: START_TIME } as unknown as FeedMessage;
    const online = apply(apply(EMPTY_FEED, snapshot(["a"])), activity, unknown, makeDelta("session_start", 1, makeSession("b")));
    expect(online.activity.get("s-a")).toEqual({ idle_seconds: 3, bytes_in: 1, bytes_out: null, receivedAt: NOW });
    expect([online.startTimes, online.lastMessageAt]).toEqual([[NOW], NOW]);
  });

  it("keeps a bounded number of ended sessions", () => {
    const many = Array.from({ length: MAX_KEPT + 20 }, (_, number) => String(number));
    const online = apply(EMPTY_FEED, snapshot(many));
    const after = apply(online, ...many.map((id, at) => makeDelta("session_end", at + 1, makeSession(id, { status: "closed" }))));
    expect([after.sessions.size, after.ended.length, after.ended[0]?.session.session_id]).toEqual([0, MAX_KEPT, String(MAX_KEPT + 19)]);
  });
});
