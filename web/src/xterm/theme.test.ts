import { expect, it } from "vitest";
import { isDark } from "./theme";

it("distinguishes dark from light colours", () => {
  expect(["rgb(253, 254, 254)", "rgb(13, 18, 19)", "rgba(0, 0, 0, 0.5)", "rgb(255, 255, 0)"].map(isDark)).toEqual([false, true, true, false]);
});
