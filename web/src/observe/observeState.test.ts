import { describe, expect, it } from "vitest";
import { INITIAL_STATE, MAX_CLOSED_TERMINALS, observeReducer, type ObserveState, selectedTerminal } from "./observeState";
import type { ObserveMessage } from "./protocol";

const NOW = 1000;
const following: ObserveMessage = { type: "following", session: "s-1", user: "alice", target: "web-1", login: "root" };
const terminal = (number: number): ObserveMessage => ({ type: "terminal", number, cols: 80, rows: 24 });
const closed = (number: number): ObserveMessage => ({ type: "terminal_end", number });

const after = (before: ObserveState, ...all: ObserveMessage[]): ObserveState => all.reduce((it, said) => observeReducer(it, { type: "message", message: said, now: NOW }), before);
const numbers = ({ terminals }: ObserveState): number[] => terminals.map(({ number }) => number);

describe("the terminals", () => {
  it("are kept by number, each once", () => {
    const several = after(INITIAL_STATE, following, terminal(3), terminal(7), terminal(3));
    expect([numbers(several), selectedTerminal(several)?.number]).toEqual([[3, 7], 3]);
    const ended = after(several, closed(7));
    expect(ended.terminals.map((it) => it.isClosed)).toEqual([false, true]);
  });

  it("are selected by the user, or else the first open one is", () => {
    const two = after(INITIAL_STATE, following, terminal(1), terminal(2));
    const chosen = observeReducer(two, { type: "selected", number: 2 });
    expect(selectedTerminal(chosen)?.number).toBe(2);
    // A terminal stays selected when it closes.
    const read = after(chosen, closed(2));
    expect(selectedTerminal(read)?.number).toBe(2);
    expect(selectedTerminal(after(read, terminal(3)))?.number).toBe(3);
    expect(selectedTerminal(after(two, closed(1)))?.number).toBe(2);
    expect(selectedTerminal(after(two, terminal(3)))?.number).toBe(1);
    expect(selectedTerminal(INITIAL_STATE)).toBeNull();
  });

  it("are bounded once they are closed, and the selected one stays", () => {
    let followed = observeReducer(after(INITIAL_STATE, following, terminal(1), closed(1)), { type: "selected", number: 1 });
    for (let number = 2; number < 12; number++) {
      followed = observeReducer(after(followed, terminal(number)), { type: "selected", number: 1 });
      followed = after(followed, closed(number));
    }
    expect(numbers(followed)).toEqual([1, ...[8, 9, 10, 11].slice(-MAX_CLOSED_TERMINALS)]);
  });

  it("record when output was skipped, by the console or by the page", () => {
    const two = after(INITIAL_STATE, following, terminal(1), terminal(2), { type: "skipped", number: 2 });
    expect(two.terminals.map((it) => it.skippedAt)).toEqual([null, NOW]);
    const here = observeReducer(two, { type: "skipped", number: 1, now: 7 });
    expect(here.terminals.map((it) => it.skippedAt)).toEqual([7, NOW]);
  });
});

it("keeps the screens until the next connection, and then selects the same terminal", () => {
  const chosen = observeReducer(after(INITIAL_STATE, following, terminal(1), terminal(2)), { type: "selected", number: 2 });
  const lost = observeReducer(chosen, { type: "lost", reason: "gone" });
  expect([lost.phase, numbers(lost)]).toEqual([{ state: "lost", reason: "gone" }, [1, 2]]);
  const again = after(lost, following);
  expect([again.phase.state, numbers(again), again.generation]).toEqual(["live", [], chosen.generation + 1]);
  expect(selectedTerminal(after(again, terminal(1), terminal(2)))?.number).toBe(2);
});

it("ends with the console's reason, and ignores unknown messages", () => {
  const live = after(INITIAL_STATE, following, terminal(1));
  expect(after(live, { type: "pong" }, { type: "weather" } as unknown as ObserveMessage)).toEqual(live);
  const over = after(live, { type: "end", status: "closed", reason: "UserExit", message: "bye" });
  expect([over.phase, numbers(over)]).toMatchObject([{ state: "ended", end: { reason: "UserExit", message: "bye" } }, [1]]);
  expect(observeReducer(INITIAL_STATE, { type: "refused", status: 409, reason: "it has ended" }).phase).toEqual({ state: "refused", status: 409, reason: "it has ended" });
});
