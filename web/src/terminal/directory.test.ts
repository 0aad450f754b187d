import { expect, it } from "vitest";
import { SftpClosedError, SftpStatusError } from "../sftp/client";
import { MalformedPacketError } from "../sftp/packets";
import { compareEntries, describeError, type Entry, fileKind, joinPath, parentPath } from "./directory";
import type { TerminalTranslate } from "./messages";

it("finds the parent and joins paths", () => {
  expect(["/", "/a", "/a/b/", "a", ""].map(parentPath)).toEqual(["/", "/", "/a", "a/..", "/"]);
  expect([joinPath("/", "a"), joinPath("/a", "b c")]).toEqual(["/a", "/a/b c"]);
});

it("derives the kind of an entry from its mode", () => {
  expect([0o100644, 0o040755, 0o120777, 0o020666, null].map(fileKind)).toEqual(["file", "directory", "link", "other", "other"]);
});

it("sorts directories first, and numbers in numeric order", () => {
  const entry = (name: string, kind: Entry["kind"]): Entry => ({ name, kind, size: null, modified: null });
  const all = [entry("b10", "file"), entry("b9", "file"), entry("z", "directory")];
  expect(all.toSorted(compareEntries).map(({ name }) => name)).toEqual(["z", "b9", "b10"]);
});

it("describes errors", () => {
  const t = Object.assign((word: string, ...values: unknown[]) => [word, ...values].join(" "), { language: "en", reason: String }) as unknown as TerminalTranslate;
  const all = [new SftpStatusError(2, "No such file"), new SftpStatusError(3, ""), new SftpStatusError(4, "Failure"), new SftpClosedError("bastion: no sftp"), new SftpClosedError(""), new MalformedPacketError("a packet is too long"), new Error("odd")];
  expect(all.map((error) => describeError(error, t))).toEqual(["noSuchFile", "permissionDenied", "targetSays Failure", "bastion: no sftp", "cut", "noSftp", "odd"]);
});
