// Packets of SFTP version 3 (draft-ietf-secsh-filexfer-02).

import { decodeFileName, encodeFileName } from "./fileNames";

export const Type = {
  init: 1, version: 2, open: 3, close: 4, read: 5, write: 6, lstat: 7, opendir: 11, readdir: 12, remove: 13, realpath: 16, stat: 17,
  status: 101, handle: 102, data: 103, name: 104, attrs: 105,
} as const;

export const Status = { ok: 0, eof: 1, noSuchFile: 2, permissionDenied: 3, failure: 4, unsupported: 8 } as const;

/** Flags for opening a file. */
export const Flag = { read: 1, write: 2, create: 8, truncate: 16, exclusive: 32 } as const;

/** The flags that say which attributes follow in an ATTRS structure. */
const AttributeFlag = { size: 1, owner: 2, permissions: 4, times: 8, extended: 0x8000_0000 } as const;

export type Bytes = Uint8Array<ArrayBuffer>;

/** A field of a packet: a uint32, a uint64, or a string, which is sent with its length. */
export type Field = number | bigint | string | Bytes;

export interface Attributes {
  size: number | null;
  /** File type and permissions, as in stat(2). */
  mode: number | null;
  /** The modification time, in seconds since 1970. */
  modified: number | null;
}

/** The longest packet that a server sends. */
export const MAX_PACKET_BYTES = 256 * 1024 + 1024;

/** Encodes a packet, with its length. */
export function encodePacket(type: number, ...fields: Field[]): Bytes {
  const parts = fields.map((field) => (typeof field === "string" ? encodeFileName(field) : field));
  const length = parts.reduce<number>((sum, part) => sum + sizeOf(part), 1);
  const bytes = new Uint8Array(4 + length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length);
  bytes[4] = type;
  let at = 5;
  for (const part of parts) {
    if (typeof part === "number") view.setUint32(at, part);
    else if (typeof part === "bigint") view.setBigUint64(at, part);
    else {
      view.setUint32(at, part.length);
      bytes.set(part, at + 4);
    }
    at += sizeOf(part);
  }
  return bytes;
}

function sizeOf(part: number | bigint | Bytes): number {
  if (typeof part === "number") return 4;
  return typeof part === "bigint" ? 8 : 4 + part.length;
}

/** The error for bytes that are not a valid packet. The other side is probably not an SFTP server. */
export class MalformedPacketError extends Error {}

/** Reads the fields of a packet. */
export class PacketReader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Bytes) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  readUint8(): number {
    return this.view.getUint8(this.skip(1));
  }

  readUint32(): number {
    return this.view.getUint32(this.skip(4));
  }

  /** Reads a uint64; values above 2^53 lose precision. */
  readUint64(): number {
    return Number(this.view.getBigUint64(this.skip(8)));
  }

  readBytes(): Bytes {
    const length = this.readUint32();
    const from = this.skip(length);
    return this.bytes.subarray(from, from + length);
  }

  readText(): string {
    return decodeFileName(this.readBytes());
  }

  readAttributes(): Attributes {
    const flags = this.readUint32();
    const size = flags & AttributeFlag.size ? this.readUint64() : null;
    if (flags & AttributeFlag.owner) this.skip(8);
    const mode = flags & AttributeFlag.permissions ? this.readUint32() : null;
    // The access time comes before the modification time.
    if (flags & AttributeFlag.times) this.skip(4);
    const modified = flags & AttributeFlag.times ? this.readUint32() : null;
    if (flags & AttributeFlag.extended) this.skipExtended();
    return { size, mode, modified };
  }

  /** Skips pairs of a name and a value. */
  private skipExtended(): void {
    for (let count = this.readUint32(); count > 0; count--) {
      this.readBytes();
      this.readBytes();
    }
  }

  private skip(bytes: number): number {
    const from = this.at;
    if (from + bytes > this.bytes.length) throw new MalformedPacketError("a packet ends too soon");
    this.at += bytes;
    return from;
  }
}

/** Splits a stream of bytes into packets. */
export class PacketDecoder {
  private chunks: Bytes[] = [];
  private bufferedBytes = 0;

  add(chunk: Bytes): void {
    this.chunks.push(chunk);
    this.bufferedBytes += chunk.length;
  }

  /** Returns the next complete packet without its length, or null. */
  next(): Bytes | null {
    if (this.bufferedBytes < 4) return null;
    const head = this.contiguous(4);
    const length = new DataView(head.buffer, head.byteOffset, 4).getUint32(0);
    if (length < 1 || length > MAX_PACKET_BYTES) throw new MalformedPacketError("a packet is too long");
    if (this.bufferedBytes < 4 + length) return null;
    const all = this.contiguous(4 + length);
    this.chunks[0] = all.subarray(4 + length);
    this.bufferedBytes -= 4 + length;
    return all.subarray(4, 4 + length);
  }

  /** Returns the first chunk, after joining chunks if it is shorter than `bytes`. */
  private contiguous(bytes: number): Bytes {
    let [first] = this.chunks;
    if (!first || first.length < bytes) {
      first = concatBytes(this.chunks, this.bufferedBytes);
      this.chunks = [first];
    }
    return first;
  }
}

/** Concatenates chunks with a known total length. */
export function concatBytes(chunks: readonly Bytes[], length: number): Bytes {
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
