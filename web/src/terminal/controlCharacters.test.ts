import { expect, it } from "vitest";
import { stripControlCharacters } from "./controlCharacters";

it("leaves nothing that a terminal would interpret", () => {
  expect(stripControlCharacters("bastion: \x1b]0;x\x07 by \u009b31mbob\r\n")).toBe("bastion:  ]0;x  by  31mbob");
});
