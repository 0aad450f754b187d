import { describe, expect, it } from "vitest";
import type { Session } from "../api/types";
import { makeSession } from "../fixtures";
import { currentLayout, frozenLayout, type ListLayout } from "./listLayout";
import { parseQuery, selectPage } from "./listQuery";

const at = (second: number): Session => makeSession(`id-${String(second).padStart(3, "0")}`, { start_time: new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString() });
const online = (...seconds: number[]): Map<string, Session> => new Map(seconds.map((second) => [at(second).session_id, at(second)]));
const shape = ({ slots, newCount }: ListLayout): [string[], number] => [slots.map((slot) => (slot.ended ? `(${slot.id})` : slot.id)), newCount];

describe("the list's layout", () => {
  const query = { ...parseQuery(new URLSearchParams()), size: 3 as number };
  const before = currentLayout(selectPage(online(1, 2, 3, 4, 5).values(), query)).slots;
  const now = (...seconds: number[]): ListLayout => {
    const sessions = online(...seconds);
    return frozenLayout(before, selectPage(sessions.values(), query), query, sessions, []);
  };

  it("is the current page while the list is not frozen", () => {
    expect(shape(currentLayout(selectPage(online(1, 2).values(), query)))).toEqual([["id-002", "id-001"], 0]);
  });

  it("keeps its rows while the list is frozen", () => {
    expect(shape(now(1, 2, 3, 4, 5))).toEqual([["id-005", "id-004", "id-003"], 0]);
    expect(shape(now(1, 2, 3, 5))).toEqual([["id-005", "(id-004)", "id-003"], 0]);
    expect(shape(now())).toEqual([["(id-005)", "(id-004)", "(id-003)"], 0]);
  });

  it("counts new sessions, but not those that move up from the next page", () => {
    expect(shape(now(1, 2, 3, 4, 5, 6, 7))).toEqual([["id-005", "id-004", "id-003"], 2]);
    expect(shape(now(1, 2, 3, 6))).toEqual([["(id-005)", "(id-004)", "id-003"], 1]);
  });

  it("shows how a session ended, for as long as its row stays", () => {
    const sessions = online(5, 3);
    const end = { session: { ...at(4), status: "closed" as const, reason: "UserExit" }, shownAt: 7 };
    const first = frozenLayout(before, selectPage(sessions.values(), query), query, sessions, [end]);
    expect(first.slots[1]).toMatchObject({ ended: { shownAt: 7 }, session: { reason: "UserExit" } });
    const later = frozenLayout(first.slots, selectPage(sessions.values(), query), query, sessions, []);
    expect(later.slots[1]?.session.reason).toBe("UserExit");
  });

  it("has room for all new sessions while the page is not full", () => {
    const few = currentLayout(selectPage(online(5).values(), query)).slots;
    const sessions = online(4, 5, 6);
    expect(frozenLayout(few, selectPage(sessions.values(), query), query, sessions, []).newCount).toBe(2);
  });
});
