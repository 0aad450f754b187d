// The files on a target, as people see them.

import { type Entry as Found, Gone, Refused, type Sftp } from "../sftp/client";
import { Malformed, Status } from "../sftp/packets";
import type { Words } from "./words";

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
export function sentence(error: unknown, words: Words): string {
  if (error instanceof Refused) {
    switch (error.code) {
      case Status.noSuchFile: return words("noSuchFile");
      case Status.permissionDenied: return words("permissionDenied");
      default: return words("targetSays", error.message);
    }
  }
  if (error instanceof Malformed) return words("noSftp");
  if (error instanceof Gone) return error.message || words("cut");
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

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function size(bytes: number | null): string {
  if (bytes === null) return "";
  const unit = Math.min(UNITS.length - 1, bytes > 0 ? Math.floor(Math.log2(bytes) / 10) : 0);
  return `${(bytes / 1024 ** unit).toFixed(unit > 0 ? 1 : 0)} ${UNITS[unit]}`;
}
