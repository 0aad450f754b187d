import { describe, expect, it } from "vitest";
import { CLOSED_KEPT, type Followed, heed, looked, NOTHING } from "./followed";
import type { Said } from "./wire";

const NOW = 1000;
const following: Said = { type: "following", session: "s-1", user: "alice", target: "web-1", login: "root" };
const terminal = (number: number): Said => ({ type: "terminal", number, cols: 80, rows: 24 });
const closed = (number: number): Said => ({ type: "terminal_end", number });

const after = (before: Followed, ...all: Said[]): Followed => all.reduce((it, said) => heed(it, { news: "said", said, now: NOW }), before);
const numbers = ({ terminals }: Followed): number[] => terminals.map(({ number }) => number);

describe("the terminals", () => {
  it("are kept by their numbers, each once", () => {
    const several = after(NOTHING, following, terminal(3), terminal(7), terminal(3));
    expect([numbers(several), looked(several)?.number]).toEqual([[3, 7], 3]);
    const ended = after(several, closed(7));
    expect(ended.terminals.map((it) => it.ended)).toEqual([false, true]);
  });

  it("are looked at as chosen, and else where something still happens", () => {
    const two = after(NOTHING, following, terminal(1), terminal(2));
    const chosen = heed(two, { news: "chosen", number: 2 });
    expect(looked(chosen)?.number).toBe(2);
    // What one has read is not taken away when it closes.
    const read = after(chosen, closed(2));
    expect(looked(read)?.number).toBe(2);
    expect(looked(after(read, terminal(3)))?.number).toBe(3);
    expect(looked(after(two, closed(1)))?.number).toBe(2);
    expect(looked(after(two, terminal(3)))?.number).toBe(1);
    expect(looked(NOTHING)).toBeNull();
  });

  it("do not pile up when they are closed, and the one that is looked at stays", () => {
    let followed = heed(after(NOTHING, following, terminal(1), closed(1)), { news: "chosen", number: 1 });
    for (let number = 2; number < 12; number++) {
      followed = heed(after(followed, terminal(number)), { news: "chosen", number: 1 });
      followed = after(followed, closed(number));
    }
    expect(numbers(followed)).toEqual([1, ...[8, 9, 10, 11].slice(-CLOSED_KEPT)]);
  });

  it("say when output was left out, there or here", () => {
    const two = after(NOTHING, following, terminal(1), terminal(2), { type: "skipped", number: 2 });
    expect(two.terminals.map((it) => it.skipped)).toEqual([null, NOW]);
    const here = heed(two, { news: "skipped", number: 1, now: 7 });
    expect(here.terminals.map((it) => it.skipped)).toEqual([7, NOW]);
  });
});

it("shows what there was until following begins anew, and looks at the same terminal again", () => {
  const chosen = heed(after(NOTHING, following, terminal(1), terminal(2)), { news: "chosen", number: 2 });
  const lost = heed(chosen, { news: "lost", why: "gone" });
  expect([lost.phase, numbers(lost)]).toEqual([{ state: "lost", why: "gone" }, [1, 2]]);
  const again = after(lost, following);
  expect([again.phase.state, numbers(again), again.round]).toEqual(["live", [], chosen.round + 1]);
  expect(looked(after(again, terminal(1), terminal(2)))?.number).toBe(2);
});

it("ends with what the console says of it, and passes over what it does not know", () => {
  const live = after(NOTHING, following, terminal(1));
  expect(after(live, { type: "pong" }, { type: "weather" } as unknown as Said)).toEqual(live);
  const over = after(live, { type: "end", status: "closed", reason: "UserExit", message: "bye" });
  expect([over.phase, numbers(over)]).toMatchObject([{ state: "over", end: { reason: "UserExit", message: "bye" } }, [1]]);
  expect(heed(NOTHING, { news: "refused", status: 409, why: "it has ended" }).phase).toEqual({ state: "refused", status: 409, why: "it has ended" });
});
