// Files, whole: many requests are under way at once, so that a long way costs little.

import { type Handle, type Sftp } from "./client";
import { type Bytes, Flag, joined } from "./packets";

/** How much one request is about: servers give no more at a time. */
const PIECE = 32 * 1024;
/** How many are under way. */
const AHEAD = 32;
/** How much of a download is in the page's memory: the browser may keep the rest elsewhere. */
const IN_MEMORY = 8 * 1024 * 1024;
/** How much of an upload is read at once. */
const READ = 16 * PIECE;

/** Of another type a browser adds to the name what it holds for one's ending. */
const BINARY = { type: "application/octet-stream" };

/** There is something of the name. */
export class Exists extends Error {}

export interface Going {
  /** Is told of so many bytes more. */
  went: (bytes: number) => void;
  signal: AbortSignal;
}

/** What is in a file. */
export async function download(sftp: Sftp, path: string, { went, signal }: Going): Promise<Blob> {
  const handle = await sftp.open(path, Flag.read);
  const blobs: Blob[] = [];
  let parts: Bytes[] = [];
  let kept = 0;
  try {
    for await (const piece of pieces(sftp, handle)) {
      signal.throwIfAborted();
      went(piece.length);
      parts.push(piece);
      kept += piece.length;
      if (kept >= IN_MEMORY) {
        blobs.push(new Blob(parts, BINARY));
        [parts, kept] = [[], 0];
      }
    }
    signal.throwIfAborted();
    return new Blob([...blobs, ...parts], BINARY);
  } finally {
    await sftp.close(handle).catch(() => undefined);
  }
}

/** What is in a file, in order, to its end, wherever that is: its size is what it was. */
async function* pieces(sftp: Sftp, handle: Handle): AsyncGenerator<Bytes> {
  const ahead: Promise<Bytes>[] = [];
  let offset = 0;
  const ask = (): void => {
    const reading = whole(sftp, handle, offset);
    // One that fails is heard of in its turn, or is not wanted any more.
    reading.catch(() => undefined);
    ahead.push(reading);
    offset += PIECE;
  };
  ask();
  for (let first = ahead.shift(); first; first = ahead.shift()) {
    const piece = await first;
    if (piece.length > 0) yield piece;
    if (piece.length < PIECE) return;
    while (ahead.length < AHEAD) ask();
  }
}

/** A piece, of which servers may give less at a time than there is. */
async function whole(sftp: Sftp, handle: Handle, offset: number): Promise<Bytes> {
  const parts: Bytes[] = [];
  let length = 0;
  while (length < PIECE) {
    const part = await sftp.read(handle, offset + length, PIECE - length);
    if (!part || part.length === 0) break;
    parts.push(part);
    length += part.length;
  }
  const [only] = parts;
  return only && parts.length === 1 ? only : joined(parts, length);
}

/** Makes a file of this name, or writes another one anew where that is wanted. A new one that is not whole goes again. */
export async function upload(sftp: Sftp, file: Blob, path: string, overwrite: boolean, { went, signal }: Going): Promise<void> {
  // Version 3 has no status for it.
  if (!overwrite && (await sftp.lstat(path))) throw new Exists();
  signal.throwIfAborted();
  const handle = await sftp.open(path, Flag.write | Flag.create | (overwrite ? Flag.truncate : Flag.exclusive));
  try {
    // Once, whatever comes of it: a server may give the handle to the next at once.
    await write(sftp, handle, file, { went, signal }).finally(() => sftp.close(handle));
    signal.throwIfAborted();
  } catch (error) {
    if (!overwrite) await sftp.remove(path).catch(() => undefined);
    throw error;
  }
}

async function write(sftp: Sftp, handle: Handle, file: Blob, { went, signal }: Going): Promise<void> {
  const going = new Set<Promise<void>>();
  for (let from = 0; from < file.size; from += READ) {
    const bytes = new Uint8Array(await file.slice(from, from + READ).arrayBuffer());
    for (let at = 0; at < bytes.length; at += PIECE) {
      while (going.size >= AHEAD) await Promise.race(going);
      signal.throwIfAborted();
      const piece = bytes.subarray(at, at + PIECE);
      const writing = sftp.write(handle, from + at, piece).then(() => {
        going.delete(writing);
        went(piece.length);
      });
      // It is waited for below; until then nobody need hear of it.
      writing.catch(() => undefined);
      going.add(writing);
    }
  }
  await Promise.all(going);
}
