// Directories of the target.

import { toErrorMessage } from "../api/client";
import { type DirectoryEntry, type SftpClient, SftpClosedError, SftpStatusError } from "../sftp/client";
import { MalformedPacketError, Status } from "../sftp/packets";
import type { TerminalTranslate } from "./messages";

/** An entry of a directory. */
export interface Entry {
  name: string;
  kind: "file" | "directory" | "link" | "other";
  size: number | null;
  modified: Date | null;
}

export interface Listing {
  path: string;
  entries: Entry[];
}

/** Lists a directory, following links. Returns null if the path is a file. */
export async function listDirectory(sftp: SftpClient, path: string): Promise<Listing | null> {
  const real = await sftp.realpath(path);
  if (fileKind((await sftp.stat(real)).mode) === "file") return null;
  const entries = (await sftp.list(real)).map(toEntry);
  return { path: real, entries: entries.toSorted(compareEntries) };
}

function toEntry({ name, size, mode, modified }: DirectoryEntry): Entry {
  return { name, kind: fileKind(mode), size, modified: modified === null ? null : new Date(modified * 1000) };
}

/** File types in the upper bits of `st_mode` (stat(2)). */
const FILE_KINDS: Record<number, Entry["kind"]> = { 0o10: "file", 0o4: "directory", 0o12: "link" };

export function fileKind(mode: number | null): Entry["kind"] {
  return FILE_KINDS[(mode ?? 0) >> 12] ?? "other";
}

/** Sorts directories first, then by name, with numbers in numeric order. */
export function compareEntries(one: Entry, other: Entry): number {
  const first = Number(other.kind === "directory") - Number(one.kind === "directory");
  return first || one.name.localeCompare(other.name, undefined, { numeric: true });
}

/** Returns a message for an error of SFTP. */
export function describeError(error: unknown, t: TerminalTranslate): string {
  if (error instanceof SftpStatusError) {
    switch (error.code) {
      case Status.noSuchFile: return t("noSuchFile");
      case Status.permissionDenied: return t("permissionDenied");
      default: return t("targetSays", error.message);
    }
  }
  if (error instanceof MalformedPacketError) return t("noSftp");
  if (error instanceof SftpClosedError) return error.message || t("cut");
  return toErrorMessage(error);
}

export function joinPath(directory: string, name: string): string {
  return directory.endsWith("/") ? directory + name : `${directory}/${name}`;
}

/** Returns the parent of a path. A relative name keeps `..`, since its parent is unknown. */
export function parentPath(path: string): string {
  const bare = path.replace(/\/+$/, "");
  const cut = bare.lastIndexOf("/");
  return bare && cut < 0 ? `${bare}/..` : bare.slice(0, Math.max(0, cut)) || "/";
}
