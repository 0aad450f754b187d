import { beforeEach, expect, it } from "vitest";
import { Exists } from "../sftp/transfer";
import { AT_ONCE, type Move, Transfers } from "./transfers";

interface Begun {
  how: Parameters<Move>[0];
  end: (error?: unknown) => void;
}
let begun: Begun[];
let transfers: Transfers;

beforeEach(() => {
  begun = [];
  transfers = new Transfers();
  for (const name of ["a", "b", "c", "d"]) {
    transfers.add("up", name, 10, (how) => new Promise((resolve, reject) => {
      begun.push({ how, end: (error) => (error ? reject(error as Error) : resolve()) });
    }));
  }
});

const states = (): string[] => transfers.snapshot().map(({ fate }) => fate.state);
/** Lets promises come to their ends. */
const settled = async (): Promise<void> => { for (let turn = 0; turn < 5; turn++) await Promise.resolve(); };

it("moves some at once, and the next when one is done", async () => {
  expect(states()).toEqual(["going", "going", "going", "waiting"]);
  expect(begun).toHaveLength(AT_ONCE);
  begun[1]!.how.went(5);
  begun[1]!.how.went(2);
  expect(transfers.snapshot()[1]).toMatchObject({ name: "b", moved: 7 });
  begun[1]!.end();
  await settled();
  expect(states()).toEqual(["going", "done", "going", "going"]);
  for (const number of [0, 2, 3]) begun[number]!.end();
  await settled();
  expect([states(), transfers.busy()]).toEqual([["done", "done", "done", "done"], false]);
});

it("goes on after one that failed, and says why", async () => {
  const why = new Error("no room");
  begun[0]!.end(why);
  await settled();
  expect(transfers.snapshot()[0]!.fate).toEqual({ state: "failed", error: why });
  expect(states()).toEqual(["failed", "going", "going", "going"]);
});

it("replaces what exists when it is told to, and not before", async () => {
  begun[0]!.end(new Exists());
  await settled();
  expect([states()[0], begun[0]!.how.overwrite]).toEqual(["exists", false]);
  begun[1]!.end();
  begun[2]!.end();
  await settled();
  transfers.replace(transfers.snapshot()[0]!.id);
  expect([states()[0], begun.at(-1)!.how.overwrite]).toEqual(["going", true]);
});

it("stops one that is cancelled, which stays cancelled, and begins no other in its place before it has stopped", async () => {
  const [first, , , last] = transfers.snapshot();
  transfers.cancel(first!.id);
  transfers.cancel(last!.id);
  expect(begun[0]!.how.signal.aborted).toBe(true);
  begun[0]!.end(new Error("aborted"));
  await settled();
  expect(states()).toEqual(["cancelled", "going", "going", "cancelled"]);
  expect(begun).toHaveLength(3);
});
