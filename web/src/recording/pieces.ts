// The pieces that a recording is stored in: which of them show a moment, and what is in their text: pure.

export interface Size {
  columns: number;
  rows: number;
}

/** A part of a recording; the first is the header alone. */
export interface Piece extends Size {
  /** When it begins, in milliseconds of the recording: what its first event's interval counts from. */
  at: number;
  bytes: number;
}

/** What may happen: output, another size, a marker, the exit status. */
export type Change = { kind: "output" | "marker" | "exit"; text: string } | ({ kind: "size" } & Size);

/** Something that happened. */
export type Moment = { at: number } & Change;

/** Pieces from one to another, which is no longer among them. */
export interface Range {
  from: number;
  to: number;
}

export interface Budget {
  bytes: number;
  pieces: number;
}

/** So much is read from before a moment, to have the screen as it was then. */
export const BEFORE: Budget = { bytes: 512 * 1024, pieces: 300 };
/** So much is read at once while it plays. */
export const NEXT: Budget = { bytes: 256 * 1024, pieces: 100 };

/** A terminal that is larger than this is none, and would have the browser draw forever. */
const LARGEST = 1000;

/** The pieces of which the screen at a moment is made: the one it is in, and those before it that the budget lets through. */
export function toSee(pieces: readonly Piece[], at: number, budget = BEFORE): Range {
  const last = holding(pieces, at);
  let from = last;
  for (let bytes = pieces[last]?.bytes ?? 0; from > 1 && last - from + 1 < budget.pieces; from--) {
    bytes += pieces[from - 1]?.bytes ?? 0;
    if (bytes > budget.bytes) break;
  }
  return { from, to: Math.min(last + 1, pieces.length) };
}

/** The piece that has the events of a moment; where some begin with it, the last. */
function holding(pieces: readonly Piece[], at: number): number {
  let [low, high] = [1, pieces.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((pieces[middle]?.at ?? 0) <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The pieces to read next, one at least. */
export function toRead(pieces: readonly Piece[], from: number, budget = NEXT): Range {
  let to = Math.min(from + 1, pieces.length);
  for (let bytes = pieces[from]?.bytes ?? 0; to < pieces.length && to - from < budget.pieces; to++) {
    bytes += pieces[to]?.bytes ?? 0;
    if (bytes > budget.bytes) break;
  }
  return { from, to };
}

/** What happens in the text of pieces that begin at a time. The header, and what is damaged, is left out. */
export function read(text: string, at: number): Moment[] {
  const moments: Moment[] = [];
  for (const line of text.split("\n")) {
    const event = line.startsWith("[") ? parse(line) : null;
    if (!event) continue;
    at += Math.round(event.interval * 1000);
    const moment = understand(at, event.code, event.data);
    if (moment) moments.push(moment);
  }
  return moments;
}

function parse(line: string): { interval: number; code: string; data: string } | null {
  try {
    const [interval, code, data]: unknown[] = JSON.parse(line) as unknown[];
    const whole = typeof interval === "number" && interval >= 0 && typeof code === "string" && typeof data === "string";
    return whole ? { interval, code, data } : null;
  } catch {
    return null;
  }
}

function understand(at: number, code: string, data: string): Moment | null {
  switch (code) {
    case "o": return { at, kind: "output", text: data };
    case "m": return { at, kind: "marker", text: data };
    case "x": return { at, kind: "exit", text: data };
    case "r": {
      const size = sizeOf(data);
      return size && { at, kind: "size", ...size };
    }
    default: return null;
  }
}

function sizeOf(data: string): Size | null {
  const [, columns = 0, rows = 0] = (/^(\d+)x(\d+)$/.exec(data) ?? []).map(Number);
  return columns > 0 && rows > 0 ? bounded({ columns, rows }) : null;
}

/** A size that can be drawn; of a terminal that had none, such as a program's own, it is the usual one. */
export function bounded({ columns, rows }: Size): Size {
  const drawn = (value: number, usual: number): number => (value < 1 ? usual : Math.min(LARGEST, value));
  return { columns: drawn(columns, 80), rows: drawn(rows, 24) };
}

/** How long a recording is: the last that is known of it, where that is not told. */
export function length(milliseconds: number | null, pieces: readonly Piece[]): number {
  return Math.max(milliseconds ?? 0, pieces.at(-1)?.at ?? 0);
}
