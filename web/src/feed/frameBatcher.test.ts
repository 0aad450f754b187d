import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { FrameBatcher } from "./frameBatcher";

let frames: (() => void)[];
let page: EventTarget & { hidden: boolean };

beforeEach(() => {
  frames = [];
  page = Object.assign(new EventTarget(), { hidden: false });
  vi.stubGlobal("document", page);
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => frames.push(draw));
});
afterEach(() => vi.unstubAllGlobals());

function batch(): { batches: number[][]; batch: FrameBatcher<number> } {
  const batches: number[][] = [];
  const made = new FrameBatcher<number>((items) => batches.push(items));
  made.open();
  return { batches, batch: made };
}
const frame = (): void => frames.splice(0).forEach((draw) => draw());

it("delivers the items of a frame as one batch", () => {
  const { batches, batch: it } = batch();
  it.add(1);
  it.add(2);
  expect([batches, frames.length]).toEqual([[], 1]);
  frame();
  it.add(3);
  frame();
  frame();
  expect(batches).toEqual([[1, 2], [3]]);
});

it("does not wait for a frame in a hidden tab", async () => {
  const { batches, batch: it } = batch();
  it.add(1);
  page.hidden = true;
  page.dispatchEvent(new Event("visibilitychange"));
  expect(batches).toEqual([[1]]);
  it.add(2);
  it.add(3);
  await Promise.resolve();
  expect(batches).toEqual([[1], [2, 3]]);
  page.hidden = false;
  page.dispatchEvent(new Event("visibilitychange"));
  it.add(4);
  frame();
  expect(batches).toEqual([[1], [2, 3], [4]]);
});

it("drops pending items when it is closed", () => {
  const { batches, batch: it } = batch();
  it.add(1);
  it.close();
  frame();
  page.dispatchEvent(new Event("visibilitychange"));
  expect(batches).toEqual([]);
});
