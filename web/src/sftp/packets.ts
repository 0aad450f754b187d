// Packets of SFTP, version 3 (draft-ietf-secsh-filexfer-02).

import { decoded, encoded } from "./text";

export const Type = {
  init: 1, version: 2, open: 3, close: 4, read: 5, write: 6, lstat: 7, opendir: 11, readdir: 12, remove: 13, realpath: 16, stat: 17,
  status: 101, handle: 102, data: 103, name: 104, attrs: 105,
} as const;

export const Status = { ok: 0, eof: 1, noSuchFile: 2, permissionDenied: 3, failure: 4, unsupported: 8 } as const;

/** How a file is opened. */
export const Flag = { read: 1, write: 2, create: 8, truncate: 16, exclusive: 32 } as const;

export type Bytes = Uint8Array<ArrayBuffer>;

/** A number of 32 bits, one of 64, or a string with its length before it. */
export type Field = number | bigint | string | Bytes;

export interface Attributes {
  size: number | null;
  /** The type of file and its permissions, as in `stat`. */
  mode: number | null;
  /** Seconds since 1970. */
  modified: number | null;
}

/** No packet is longer that a server sends. */
export const LONGEST = 256 * 1024 + 1024;

/** A packet with its length. */
export function packet(type: number, ...fields: Field[]): Bytes {
  const parts = fields.map((field) => (typeof field === "string" ? encoded(field) : field));
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

/** What is no packet: whoever sent it is no server of SFTP. */
export class Malformed extends Error {}

/** Reads the fields of a packet. */
export class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Bytes) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  byte(): number {
    return this.view.getUint8(this.skip(1));
  }

  number(): number {
    return this.view.getUint32(this.skip(4));
  }

  /** One of 64 bits, as precisely as a number can be. */
  long(): number {
    return Number(this.view.getBigUint64(this.skip(8)));
  }

  string(): Bytes {
    const length = this.number();
    const from = this.skip(length);
    return this.bytes.subarray(from, from + length);
  }

  text(): string {
    return decoded(this.string());
  }

  attributes(): Attributes {
    const flags = this.number();
    const size = flags & 1 ? this.long() : null;
    if (flags & 2) this.skip(8);
    const mode = flags & 4 ? this.number() : null;
    if (flags & 8) this.skip(4);
    const modified = flags & 8 ? this.number() : null;
    if (flags & 0x8000_0000) for (let count = this.number(); count > 0; count--) this.skip(this.number()), this.skip(this.number());
    return { size, mode, modified };
  }

  private skip(bytes: number): number {
    const from = this.at;
    if (from + bytes > this.bytes.length) throw new Malformed("a packet ends too soon");
    this.at += bytes;
    return from;
  }
}

/** Puts packets together of however many pieces. */
export class Packets {
  private pieces: Bytes[] = [];
  private waiting = 0;

  add(piece: Bytes): void {
    this.pieces.push(piece);
    this.waiting += piece.length;
  }

  /** The next packet without its length, if all of it is there. */
  next(): Bytes | null {
    if (this.waiting < 4) return null;
    const head = this.together(4);
    const length = new DataView(head.buffer, head.byteOffset, 4).getUint32(0);
    if (length < 1 || length > LONGEST) throw new Malformed("a packet is too long");
    if (this.waiting < 4 + length) return null;
    const all = this.together(4 + length);
    this.pieces[0] = all.subarray(4 + length);
    this.waiting -= 4 + length;
    return all.subarray(4, 4 + length);
  }

  /** The first piece, which has as many bytes at the least. */
  private together(bytes: number): Bytes {
    let [first] = this.pieces;
    if (!first || first.length < bytes) {
      first = joined(this.pieces, this.waiting);
      this.pieces = [first];
    }
    return first;
  }
}

/** Pieces as one, which has as many bytes as all of them. */
export function joined(pieces: readonly Bytes[], length: number): Bytes {
  const all = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
