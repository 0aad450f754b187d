import { expect, it } from "vitest";
import { type Deed, deed, type Key } from "./keys";

const key = (text: string, rest: Partial<Key> = {}): Key => {
  const parts = text.split("+");
  const name = parts.at(-1) ?? "";
  return {
    type: "keydown", key: name, code: `Key${name.toUpperCase()}`, isComposing: false, repeat: false,
    ctrlKey: parts.includes("ctrl"), shiftKey: parts.includes("shift"), altKey: parts.includes("alt"), metaKey: parts.includes("meta"), ...rest,
  };
};
const LIVE = { selected: false, over: false };
const SELECTED = { selected: true, over: false };
const OVER = { selected: false, over: true };

it.each<[string, Key, typeof LIVE, Deed]>([
  ["a letter is the shell's", key("r"), LIVE, "send"],
  ["Ctrl+C is the shell's", key("ctrl+c"), LIVE, "send"],
  ["but copies what is selected", key("ctrl+c"), SELECTED, "copy"],
  ["so does Ctrl+Shift+C", key("ctrl+shift+C"), SELECTED, "copy"],
  ["which opens no inspector", key("ctrl+shift+C"), LIVE, "nothing"],
  ["Ctrl+Shift+V is pasted by the browser", key("ctrl+shift+V"), LIVE, "browser"],
  ["Ctrl+V is the shell's", key("ctrl+v"), LIVE, "send"],
  ["Ctrl+Shift+F searches", key("ctrl+shift+F"), LIVE, "search"],
  ["once a press", key("ctrl+shift+F", { type: "keyup" }), LIVE, "nothing"],
  ["also on a Cyrillic keyboard", key("ctrl+c", { key: "с" }), SELECTED, "copy"],
  ["and where letters have changed places", key("ctrl+c", { code: "KeyI" }), SELECTED, "copy"],
  ["Cmd+C is not Ctrl+C", key("meta+c"), SELECTED, "send"],
  ["AltGr is not Ctrl", key("ctrl+alt+c"), SELECTED, "send"],
  ["Enter is the shell's", key("Enter"), LIVE, "send"],
  ["until there is none", key("Enter"), OVER, "again"],
  ["which nothing else starts", key("r"), OVER, "browser"],
  ["nor a finger that is lifted", key("Enter", { type: "keyup" }), OVER, "nothing"],
  ["nor one that held it down since", key("Enter", { repeat: true }), OVER, "browser"],
  ["nor a word that is chosen", key("Enter", { isComposing: true }), OVER, "browser"],
  ["what is over can be copied", key("ctrl+c"), { selected: true, over: true }, "copy"],
])("%s", (_, pressed, now, expected) => {
  expect(deed(pressed, now)).toBe(expected);
});
