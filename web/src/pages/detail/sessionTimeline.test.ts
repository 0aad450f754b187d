import { describe, expect, it } from "vitest";
import type { Session, SessionEvent } from "../../api/types";
import { makeSession, START_TIME } from "../../fixtures";
import { detailDelays, remainingSeconds, sessionTimeline } from "./sessionTimeline";

const event = (second: number, reason: string, more: Partial<SessionEvent> = {}): SessionEvent => ({
  time: `2026-01-02T03:04:${String(second).padStart(2, "0")}.000000Z`, type: "Normal", reason, message: `of ${reason}`, count: 1, ...more,
});
const kinds = (one: Session, ...events: SessionEvent[]): string[] => sessionTimeline(one, events).map((it) => `${it.kind}${it.name ? ` ${it.name}` : ""}`);

describe("a timeline", () => {
  it("needs no Events", () => {
    expect(kinds(makeSession("a"))).toEqual(["began"]);
    const ended = makeSession("a", { status: "closed", reason: "UserExit", end_time: "2026-01-02T03:04:50Z" });
    expect(kinds(ended)).toEqual(["began", "ended"]);
  });

  it("reports once, in order, what the session and its Events both report", () => {
    const ended = makeSession("a", { status: "closed", reason: "UserExit", end_time: "2026-01-02T03:04:50Z", message: "exit" });
    const steps = sessionTimeline(ended, [event(50, "UserExit"), event(6, "Started"), event(20, "Refused", { type: "Warning", count: 3 })]);
    expect(steps.map((it) => [it.kind, it.text])).toEqual([["began", "of Started"], ["event", "of Refused"], ["ended", "exit"]]);
    expect(steps[1]).toMatchObject({ warning: true, count: 3, name: "Refused" });
  });

  it("has a requested termination before the end, whatever its time", () => {
    const termination = { requested_by: "bob", reason: "noon" };
    expect(kinds(makeSession("a", { termination }))).toEqual(["began", "asked bob"]);
    const ended = makeSession("a", { termination, status: "terminated", reason: "AdminTerminated", end_time: "2026-01-02T03:04:50Z" });
    expect(kinds(ended, event(55, "Stored"))).toEqual(["began", "asked bob", "ended", "event Stored"]);
  });

  it("ends at an unknown time if the end was not observed", () => {
    const lost = makeSession("a", { status: "terminated", reason: "GatewayLost", last_seen_time: START_TIME });
    expect(kinds(lost)).toEqual(["began", "seen", "ended"]);
  });
});

it("returns what is left of a limit", () => {
  expect([remainingSeconds(60, 20), remainingSeconds(60, 70), remainingSeconds(null, 5), remainingSeconds(undefined, 5), remainingSeconds(60, null)]).toEqual([40, 0, null, null, null]);
});

it("polls a session until it has ended, and twice after that", () => {
  const pause = detailDelays();
  const [open, ended] = [{ data: { session: makeSession("a") } }, { data: { session: makeSession("a", { status: "closed" }) } }];
  const outcomes = [open, { error: new Error("down") }, open, ended, ended, ended];
  expect(outcomes.map(pause)).toEqual([2000, 2000, 2000, 2000, 15_000, null]);
});
