import { expect, it } from "vitest";
import { drawableSize } from "./terminalEvents";

it("replaces a missing size by the default, and limits a large one", () => {
  expect(drawableSize({ columns: 0, rows: 0 })).toEqual({ columns: 80, rows: 24 });
  expect(drawableSize({ columns: 5000, rows: 50 })).toEqual({ columns: 1000, rows: 50 });
});
