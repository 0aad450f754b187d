import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Batch } from "./batch";

let frames: (() => void)[];
let page: EventTarget & { hidden: boolean };

beforeEach(() => {
  frames = [];
  page = Object.assign(new EventTarget(), { hidden: false });
  vi.stubGlobal("document", page);
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => frames.push(draw));
});
afterEach(() => vi.unstubAllGlobals());

function batch(): { given: number[][]; batch: Batch<number> } {
  const given: number[][] = [];
  const made = new Batch<number>((items) => given.push(items));
  made.open();
  return { given, batch: made };
}
const frame = (): void => frames.splice(0).forEach((draw) => draw());

it("gives what came before a frame in one go", () => {
  const { given, batch: it } = batch();
  it.add(1);
  it.add(2);
  expect([given, frames.length]).toEqual([[], 1]);
  frame();
  it.add(3);
  frame();
  frame();
  expect(given).toEqual([[1, 2], [3]]);
});

it("waits for no frame in a tab that nobody sees", async () => {
  const { given, batch: it } = batch();
  it.add(1);
  page.hidden = true;
  page.dispatchEvent(new Event("visibilitychange"));
  expect(given).toEqual([[1]]);
  it.add(2);
  it.add(3);
  await Promise.resolve();
  expect(given).toEqual([[1], [2, 3]]);
  page.hidden = false;
  page.dispatchEvent(new Event("visibilitychange"));
  it.add(4);
  frame();
  expect(given).toEqual([[1], [2, 3], [4]]);
});

it("forgets what waits when it is closed", () => {
  const { given, batch: it } = batch();
  it.add(1);
  it.close();
  frame();
  page.dispatchEvent(new Event("visibilitychange"));
  expect(given).toEqual([]);
});
