import { expect, it } from "vitest";
import { type KeyAction, keyAction, type KeyPress } from "./keys";

const key = (text: string, rest: Partial<KeyPress> = {}): KeyPress => {
  const parts = text.split("+");
  const name = parts.at(-1) ?? "";
  return {
    type: "keydown", key: name, code: `Key${name.toUpperCase()}`, isComposing: false, repeat: false,
    ctrlKey: parts.includes("ctrl"), shiftKey: parts.includes("shift"), altKey: parts.includes("alt"), metaKey: parts.includes("meta"), ...rest,
  };
};
const LIVE = { hasSelection: false, isEnded: false };
const SELECTED = { hasSelection: true, isEnded: false };
const OVER = { hasSelection: false, isEnded: true };

it.each<[string, KeyPress, typeof LIVE, KeyAction]>([
  ["a letter goes to the shell", key("r"), LIVE, "send"],
  ["Ctrl+C goes to the shell", key("ctrl+c"), LIVE, "send"],
  ["Ctrl+C copies a selection", key("ctrl+c"), SELECTED, "copy"],
  ["Ctrl+Shift+C copies a selection", key("ctrl+shift+C"), SELECTED, "copy"],
  ["Ctrl+Shift+C opens no inspector", key("ctrl+shift+C"), LIVE, "ignore"],
  ["Ctrl+Shift+V leaves the paste to the browser", key("ctrl+shift+V"), LIVE, "browser"],
  ["Ctrl+V goes to the shell", key("ctrl+v"), LIVE, "send"],
  ["Ctrl+Shift+F searches", key("ctrl+shift+F"), LIVE, "search"],
  ["Ctrl+Shift+F searches once per press", key("ctrl+shift+F", { type: "keyup" }), LIVE, "ignore"],
  ["Ctrl+C copies on a Cyrillic keyboard", key("ctrl+c", { key: "с" }), SELECTED, "copy"],
  ["Ctrl+C copies on a remapped keyboard", key("ctrl+c", { code: "KeyI" }), SELECTED, "copy"],
  ["Cmd+C is not Ctrl+C", key("meta+c"), SELECTED, "send"],
  ["AltGr is not Ctrl", key("ctrl+alt+c"), SELECTED, "send"],
  ["Enter goes to the shell", key("Enter"), LIVE, "send"],
  ["Enter restarts after the end", key("Enter"), OVER, "restart"],
  ["no other key restarts", key("r"), OVER, "browser"],
  ["the release of Enter does not restart", key("Enter", { type: "keyup" }), OVER, "ignore"],
  ["a held Enter does not restart", key("Enter", { repeat: true }), OVER, "browser"],
  ["Enter in an input method does not restart", key("Enter", { isComposing: true }), OVER, "browser"],
  ["Ctrl+C copies after the end", key("ctrl+c"), { hasSelection: true, isEnded: true }, "copy"],
])("%s", (_, pressed, now, expected) => {
  expect(keyAction(pressed, now)).toBe(expected);
});
