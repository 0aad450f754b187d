import { describe, expect, it } from "vitest";
import type { Session } from "../api/types";
import { makeSession } from "../fixtures";
import { page, read } from "./query";
import { fresh, held, type Slots } from "./slots";

const at = (second: number): Session => makeSession(`id-${String(second).padStart(3, "0")}`, { start_time: new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString() });
const online = (...seconds: number[]): Map<string, Session> => new Map(seconds.map((second) => [at(second).session_id, at(second)]));
const shape = ({ slots, waiting }: Slots): [string[], number] => [slots.map((slot) => (slot.gone ? `(${slot.id})` : slot.id)), waiting];

describe("the places in the list", () => {
  const query = { ...read(new URLSearchParams()), size: 3 as number };
  const before = fresh(page(online(1, 2, 3, 4, 5).values(), query)).slots;
  const now = (...seconds: number[]): Slots => {
    const sessions = online(...seconds);
    return held(before, page(sessions.values(), query), query, sessions, []);
  };

  it("are those of the page while nobody works in it", () => {
    expect(shape(fresh(page(online(1, 2).values(), query)))).toEqual([["id-002", "id-001"], 0]);
  });

  it("stay while somebody does", () => {
    expect(shape(now(1, 2, 3, 4, 5))).toEqual([["id-005", "id-004", "id-003"], 0]);
    expect(shape(now(1, 2, 3, 5))).toEqual([["id-005", "(id-004)", "id-003"], 0]);
    expect(shape(now())).toEqual([["(id-005)", "(id-004)", "(id-003)"], 0]);
  });

  it("count who has come, and not who moves up from the next page", () => {
    expect(shape(now(1, 2, 3, 4, 5, 6, 7))).toEqual([["id-005", "id-004", "id-003"], 2]);
    expect(shape(now(1, 2, 3, 6))).toEqual([["(id-005)", "(id-004)", "id-003"], 1]);
  });

  it("say how one ended, for as long as they are there", () => {
    const sessions = online(5, 3);
    const end = { session: { ...at(4), status: "closed" as const, reason: "UserExit" }, shownAt: 7 };
    const first = held(before, page(sessions.values(), query), query, sessions, [end]);
    expect(first.slots[1]).toMatchObject({ gone: { shownAt: 7 }, session: { reason: "UserExit" } });
    const later = held(first.slots, page(sessions.values(), query), query, sessions, []);
    expect(later.slots[1]?.session.reason).toBe("UserExit");
  });

  it("have room for all who come where the page is not full", () => {
    const few = fresh(page(online(5).values(), query)).slots;
    const sessions = online(4, 5, 6);
    expect(held(few, page(sessions.values(), query), query, sessions, []).waiting).toBe(2);
  });
});
