import { beforeEach, expect, it } from "vitest";
import { FileExistsError } from "../sftp/transfer";
import { MAX_CONCURRENT, type RunTransfer, TransferQueue } from "./transferQueue";

interface Started {
  options: Parameters<RunTransfer>[0];
  end: (error?: unknown) => void;
}
let started: Started[];
let transfers: TransferQueue;

beforeEach(() => {
  started = [];
  transfers = new TransferQueue();
  for (const name of ["a", "b", "c", "d"]) {
    transfers.add("up", name, 10, (options) => new Promise((resolve, reject) => {
      started.push({ options, end: (error) => (error ? reject(error as Error) : resolve()) });
    }));
  }
});

const states = (): string[] => transfers.snapshot().map(({ outcome }) => outcome.state);
/** Waits until pending promises have settled. */
const settled = async (): Promise<void> => { for (let turn = 0; turn < 5; turn++) await Promise.resolve(); };

it("runs a few at once, and the next when one is done", async () => {
  expect(states()).toEqual(["running", "running", "running", "waiting"]);
  expect(started).toHaveLength(MAX_CONCURRENT);
  started[1]!.options.onProgress(5);
  started[1]!.options.onProgress(2);
  expect(transfers.snapshot()[1]).toMatchObject({ name: "b", transferredBytes: 7 });
  started[1]!.end();
  await settled();
  expect(states()).toEqual(["running", "done", "running", "running"]);
  for (const number of [0, 2, 3]) started[number]!.end();
  await settled();
  expect([states(), transfers.isBusy()]).toEqual([["done", "done", "done", "done"], false]);
});

it("goes on after a failure, and keeps the error", async () => {
  const error = new Error("no room");
  started[0]!.end(error);
  await settled();
  expect(transfers.snapshot()[0]!.outcome).toEqual({ state: "failed", error });
  expect(states()).toEqual(["failed", "running", "running", "running"]);
});

it("overwrites an existing file only when told to", async () => {
  started[0]!.end(new FileExistsError());
  await settled();
  expect([states()[0], started[0]!.options.overwrite]).toEqual(["exists", false]);
  started[1]!.end();
  started[2]!.end();
  await settled();
  transfers.replace(transfers.snapshot()[0]!.id);
  expect([states()[0], started.at(-1)!.options.overwrite]).toEqual(["running", true]);
});

it("cancels a transfer, and starts another only after it has stopped", async () => {
  const [first, , , last] = transfers.snapshot();
  transfers.cancel(first!.id);
  transfers.cancel(last!.id);
  expect(started[0]!.options.signal.aborted).toBe(true);
  started[0]!.end(new Error("aborted"));
  await settled();
  expect(states()).toEqual(["cancelled", "running", "running", "cancelled"]);
  expect(started).toHaveLength(3);
});
