// The files on a target, as the gateway lists them.

import { problem } from "./connection";

export interface Entry {
  name: string;
  kind: "file" | "directory" | "link" | "other";
  size: number | null;
  modified: string | null;
}

export interface Listing {
  path: string;
  entries: Entry[];
}

/** Where a session's files are. */
export function filesAddress(base: string, session: string, path: string, overwrite = false): string {
  const query = new URLSearchParams({ path });
  if (overwrite) query.set("overwrite", "true");
  return `${base}/terminal/v1/sessions/${encodeURIComponent(session)}/files?${query}`;
}

/** What is in a directory; null where it is none. */
export async function list(address: string, signal: AbortSignal): Promise<Listing | null> {
  const response = await fetch(address, { credentials: "include", signal });
  if (!response.ok) throw new Error(await problem(response));
  if (response.headers.has("content-disposition")) {
    await response.body?.cancel();
    return null;
  }
  const { path, entries } = (await response.json()) as Listing;
  return { path, entries: entries.toSorted(inOrder) };
}

/** Directories first, then by name as people count. */
function inOrder(one: Entry, other: Entry): number {
  const first = Number(other.kind === "directory") - Number(one.kind === "directory");
  return first || one.name.localeCompare(other.name, undefined, { numeric: true });
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
