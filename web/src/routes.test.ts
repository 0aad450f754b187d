import { expect, it } from "vitest";
import { createTranslate } from "./i18n";
import { documentTitle, holdsLiveSession, recordingPagePath, sessionPagePath, terminalPagePath } from "./routes";

it("titles each route", () => {
  const en = createTranslate("en");
  expect(documentTitle(["", ""], 3, en)).toBe("(3) Online · Bastion");
  expect(documentTitle(["", "history"], 3, en)).toBe("(3) History · Bastion");
  expect(documentTitle(["", "sessions", "s-1"], null, en)).toBe("s-1 · Bastion");
  expect(documentTitle(["", "recordings", "s-1"], 3, en)).toBe("(3) s-1 · Bastion");
  expect(documentTitle(["", "follow", "s-1"], 3, en)).toBe("(3) s-1 · Bastion");
  expect(documentTitle(["", "terminal", "web-1"], 0, createTranslate("zh"))).toBe("(0) web-1 · 堡垒机");
  expect(documentTitle(["", "nowhere", "x"], null, en)).toBe("Online · Bastion");
});

it("builds the path of the terminal", () => {
  expect(terminalPagePath("a/b", "x y")).toBe("/terminal/a%2Fb?login=x+y");
});

it("builds the paths of a session and of its recordings", () => {
  expect([sessionPagePath("a/b"), sessionPagePath("a/b", null), sessionPagePath("a/b", "x&y")]).toEqual(["/sessions/a%2Fb", "/sessions/a%2Fb", "/sessions/a%2Fb?id=x%26y"]);
  expect(recordingPagePath("a/b", { number: "1", id: "x&y" })).toBe("/recordings/a%2Fb?number=1&id=x%26y");
});

it("holds a live session only on the page of a terminal", () => {
  expect(["/terminal/web-1", "/terminal", "/", "/follow/s-1", "/sessions/terminal"].map((path) => holdsLiveSession(path.split("/")))).toEqual([true, false, false, false, false]);
});
