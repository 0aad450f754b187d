import { beforeEach, expect, it } from "vitest";
import { AT_ONCE, type Fate, type Upload, Uploads } from "./uploads";

const file = (name: string): File => ({ name, size: 10 }) as File;
let sent: { upload: Upload; tell: (fate: Fate) => void; stopped: boolean }[];
let finished: string[];
let uploads: Uploads;

beforeEach(() => {
  sent = [];
  finished = [];
  uploads = new Uploads(
    (upload, tell) => {
      const one = { upload, tell, stopped: false };
      sent.push(one);
      return () => { one.stopped = true; };
    },
    ({ file }) => finished.push(file.name),
  );
});

const states = (): string[] => uploads.snapshot().map(({ fate }) => fate.state);

it("sends some at once, and the next when one is done", () => {
  uploads.add(["a", "b", "c", "d"].map(file), "/tmp", new Set());
  expect(states()).toEqual(["going", "going", "going", "waiting"]);
  expect(sent).toHaveLength(AT_ONCE);
  sent[1]?.tell({ state: "going", sent: 5 });
  expect(uploads.snapshot()[1]?.fate).toEqual({ state: "going", sent: 5 });
  sent[1]?.tell({ state: "done" });
  expect(finished).toEqual(["b"]);
  expect(states()).toEqual(["going", "done", "going", "going"]);
});

it("goes on after one that failed", () => {
  uploads.add(["a", "b", "c", "d"].map(file), "/tmp", new Set());
  sent[0]?.tell({ state: "failed", why: "no room" });
  expect(states()).toEqual(["failed", "going", "going", "going"]);
});

it("replaces a file when told to only", () => {
  uploads.add([file("a"), file("b")], "/tmp", new Set(["a"]));
  expect(states()).toEqual(["exists", "going"]);
  sent[0]?.tell({ state: "exists" });
  const [a, b] = uploads.snapshot();
  uploads.replace(a?.id ?? 0);
  uploads.replace(b?.id ?? 0);
  expect(sent.slice(1).map(({ upload }) => [upload.file.name, upload.overwrite])).toEqual([["a", true], ["b", true]]);
});

it("stops what is cancelled, whatever is said of it after that", () => {
  uploads.add(["a", "b", "c", "d"].map(file), "/tmp", new Set());
  uploads.cancel(uploads.snapshot()[0]?.id ?? 0);
  expect(sent[0]?.stopped).toBe(true);
  sent[0]?.tell({ state: "done" });
  expect(states()).toEqual(["cancelled", "going", "going", "going"]);
  uploads.cancelAll();
  expect(states()).toEqual(["cancelled", "cancelled", "cancelled", "cancelled"]);
  expect(sent.every(({ stopped }) => stopped)).toBe(true);
  expect(finished).toEqual([]);
});

it("cancels what waits without ever sending it", () => {
  uploads.add(["a", "b", "c", "d"].map(file), "/tmp", new Set());
  uploads.cancel(uploads.snapshot()[3]?.id ?? 0);
  sent[0]?.tell({ state: "done" });
  expect(sent).toHaveLength(3);
});
