// The files on a target, as people see them.

import { type Entry as Found, Gone, Refused, type Sftp } from "../sftp/client";
import { Malformed, Status } from "../sftp/packets";
import type { TerminalTranslate } from "./messages";

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

/** What is in a directory, wherever links lead; null where it is a file. */
export async function list(sftp: Sftp, path: string): Promise<Listing | null> {
  const real = await sftp.realpath(path);
  if (kind((await sftp.stat(real)).mode) === "file") return null;
  const entries = (await sftp.list(real)).map(entry);
  return { path: real, entries: entries.toSorted(inOrder) };
}

function entry({ name, size, mode, modified }: Found): Entry {
  return { name, kind: kind(mode), size, modified: modified === null ? null : new Date(modified * 1000) };
}

/** As `stat` has it in the mode. */
const KINDS: Record<number, Entry["kind"]> = { 0o10: "file", 0o4: "directory", 0o12: "link" };

export function kind(mode: number | null): Entry["kind"] {
  return KINDS[(mode ?? 0) >> 12] ?? "other";
}

/** Directories first, then by name as people count. */
export function inOrder(one: Entry, other: Entry): number {
  const first = Number(other.kind === "directory") - Number(one.kind === "directory");
  return first || one.name.localeCompare(other.name, undefined, { numeric: true });
}

/** Why something could not be done, in a sentence. */
export function sentence(error: unknown, t: TerminalTranslate): string {
  if (error instanceof Refused) {
    switch (error.code) {
      case Status.noSuchFile: return t("noSuchFile");
      case Status.permissionDenied: return t("permissionDenied");
      default: return t("targetSays", error.message);
    }
  }
  if (error instanceof Malformed) return t("noSftp");
  if (error instanceof Gone) return error.message || t("cut");
  return error instanceof Error ? error.message : String(error);
}

export function join(directory: string, name: string): string {
  return directory.endsWith("/") ? directory + name : `${directory}/${name}`;
}

export function parent(path: string): string {
  const bare = path.replace(/\/+$/, "");
  const cut = bare.lastIndexOf("/");
  return bare && cut < 0 ? `${bare}/..` : bare.slice(0, Math.max(0, cut)) || "/";
}
