import { expect, it } from "vitest";
import { Gone, Refused } from "../sftp/client";
import { Malformed } from "../sftp/packets";
import { type Entry, inOrder, join, kind, parent, sentence } from "./files";
import type { TerminalTranslate } from "./messages";

it("knows what is above and below", () => {
  expect(["/", "/a", "/a/b/", "a", ""].map(parent)).toEqual(["/", "/", "/a", "a/..", "/"]);
  expect([join("/", "a"), join("/a", "b c")]).toEqual(["/a", "/a/b c"]);
});

it("knows what an entry is", () => {
  expect([0o100644, 0o040755, 0o120777, 0o020666, null].map(kind)).toEqual(["file", "directory", "link", "other", "other"]);
});

it("has directories first, and numbers as people count", () => {
  const entry = (name: string, kind: Entry["kind"]): Entry => ({ name, kind, size: null, modified: null });
  const all = [entry("b10", "file"), entry("b9", "file"), entry("z", "directory")];
  expect(all.toSorted(inOrder).map(({ name }) => name)).toEqual(["z", "b9", "b10"]);
});

it("says in a sentence what could not be done", () => {
  const t = Object.assign((word: string, ...values: unknown[]) => [word, ...values].join(" "), { language: "en", reason: String }) as unknown as TerminalTranslate;
  const all = [new Refused(2, "No such file"), new Refused(3, ""), new Refused(4, "Failure"), new Gone("bastion: no sftp"), new Gone(""), new Malformed("a packet is too long"), new Error("odd")];
  expect(all.map((error) => sentence(error, t))).toEqual(["noSuchFile", "permissionDenied", "targetSays Failure", "bastion: no sftp", "cut", "noSftp", "odd"]);
});
