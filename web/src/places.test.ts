import { expect, it } from "vitest";
import { stays, tabTitle } from "./places";
import { speak } from "./words";

it("calls each place by its name", () => {
  const en = speak("en");
  expect(tabTitle(["", ""], 3, en)).toBe("(3) Online · Bastion");
  expect(tabTitle(["", "history"], 3, en)).toBe("(3) History · Bastion");
  expect(tabTitle(["", "sessions", "s-1"], null, en)).toBe("s-1 · Bastion");
  expect(tabTitle(["", "recordings", "s-1"], 3, en)).toBe("(3) s-1 · Bastion");
  expect(tabTitle(["", "follow", "s-1"], 3, en)).toBe("(3) s-1 · Bastion");
  expect(tabTitle(["", "terminal", "web-1"], 0, speak("zh"))).toBe("(0) web-1 · 堡垒机");
  expect(tabTitle(["", "nowhere", "x"], null, en)).toBe("Online · Bastion");
});

it("keeps a terminal alone", () => {
  expect(["/terminal/web-1", "/terminal", "/", "/follow/s-1", "/sessions/terminal"].map((path) => stays(path.split("/")))).toEqual([true, false, false, false, false]);
});
