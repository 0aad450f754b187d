// Uploads and downloads of whole files, with many requests in flight to make up for latency.

import { type Handle, type SftpClient } from "./client";
import { type Bytes, concatBytes, Flag } from "./packets";

/** The number of bytes that one request reads or writes. Servers return no more at a time. */
const REQUEST_BYTES = 32 * 1024;
const MAX_IN_FLIGHT = 32;
/** The most downloaded bytes in the page's memory. They then become a blob, which the browser may store elsewhere. */
const MAX_MEMORY_BYTES = 8 * 1024 * 1024;
/** The number of bytes of an upload that are read at once. */
const READ_BYTES = 16 * REQUEST_BYTES;

/** The type of downloaded files. With another type, a browser may append an extension to the file's name. */
const BLOB_OPTIONS = { type: "application/octet-stream" };

/** The error of an upload whose file already exists. */
export class FileExistsError extends Error {}

export interface TransferOptions {
  /** Called with the number of bytes that were transferred since the last call. */
  onProgress: (bytes: number) => void;
  signal: AbortSignal;
}

/** Downloads a file. */
export async function download(sftp: SftpClient, path: string, { onProgress, signal }: TransferOptions): Promise<Blob> {
  const handle = await sftp.open(path, Flag.read);
  const blobs: Blob[] = [];
  let parts: Bytes[] = [];
  let kept = 0;
  try {
    for await (const chunk of readChunks(sftp, handle)) {
      signal.throwIfAborted();
      onProgress(chunk.length);
      parts.push(chunk);
      kept += chunk.length;
      if (kept >= MAX_MEMORY_BYTES) {
        blobs.push(new Blob(parts, BLOB_OPTIONS));
        [parts, kept] = [[], 0];
      }
    }
    signal.throwIfAborted();
    return new Blob([...blobs, ...parts], BLOB_OPTIONS);
  } finally {
    await sftp.close(handle).catch(() => undefined);
  }
}

/** Reads a file in order until its end. The size from `stat` may be outdated, so it is not used. */
async function* readChunks(sftp: SftpClient, handle: Handle): AsyncGenerator<Bytes> {
  const inFlight: Promise<Bytes>[] = [];
  let offset = 0;
  const requestNext = (): void => {
    const reading = readChunk(sftp, handle, offset);
    // Avoids an unhandled rejection: the loop below awaits the request later, or not at all.
    reading.catch(() => undefined);
    inFlight.push(reading);
    offset += REQUEST_BYTES;
  };
  requestNext();
  for (let first = inFlight.shift(); first; first = inFlight.shift()) {
    const chunk = await first;
    if (chunk.length > 0) yield chunk;
    if (chunk.length < REQUEST_BYTES) return;
    while (inFlight.length < MAX_IN_FLIGHT) requestNext();
  }
}

/** Reads one chunk. A server may return less than requested before the end of the file, so several requests may be needed. */
async function readChunk(sftp: SftpClient, handle: Handle, offset: number): Promise<Bytes> {
  const parts: Bytes[] = [];
  let length = 0;
  while (length < REQUEST_BYTES) {
    const part = await sftp.read(handle, offset + length, REQUEST_BYTES - length);
    if (!part || part.length === 0) break;
    parts.push(part);
    length += part.length;
  }
  const [only] = parts;
  return only && parts.length === 1 ? only : concatBytes(parts, length);
}

/** Uploads a file. Replaces an existing file only if `overwrite` is set. After a failure, removes the incomplete new file. */
export async function upload(sftp: SftpClient, file: Blob, path: string, overwrite: boolean, { onProgress, signal }: TransferOptions): Promise<void> {
  // Version 3 has no status for an existing file.
  if (!overwrite && (await sftp.lstat(path))) throw new FileExistsError();
  signal.throwIfAborted();
  const handle = await sftp.open(path, Flag.write | Flag.create | (overwrite ? Flag.truncate : Flag.exclusive));
  try {
    // Close the handle exactly once: a server may reuse its name for the next file.
    await writeFile(sftp, handle, file, { onProgress, signal }).finally(() => sftp.close(handle));
    signal.throwIfAborted();
  } catch (error) {
    if (!overwrite) await sftp.remove(path).catch(() => undefined);
    throw error;
  }
}

async function writeFile(sftp: SftpClient, handle: Handle, file: Blob, { onProgress, signal }: TransferOptions): Promise<void> {
  const inFlight = new Set<Promise<void>>();
  for (let from = 0; from < file.size; from += READ_BYTES) {
    const bytes = new Uint8Array(await file.slice(from, from + READ_BYTES).arrayBuffer());
    for (let at = 0; at < bytes.length; at += REQUEST_BYTES) {
      while (inFlight.size >= MAX_IN_FLIGHT) await Promise.race(inFlight);
      signal.throwIfAborted();
      const chunk = bytes.subarray(at, at + REQUEST_BYTES);
      const writing = sftp.write(handle, from + at, chunk).then(() => {
        inFlight.delete(writing);
        onProgress(chunk.length);
      });
      // Avoids an unhandled rejection until the request is awaited below.
      writing.catch(() => undefined);
      inFlight.add(writing);
    }
  }
  await Promise.all(inFlight);
}
