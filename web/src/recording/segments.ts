// The segments of a stored recording (`pieces` in the API): which ones to read, and the asciicast events in their text.

import { drawableSize, type Size, type TerminalEvent } from "../xterm/terminalEvents";

/** A segment of a recording. The first has only the header. */
export interface Segment extends Size {
  /** The segment's start, in milliseconds from the start of the recording. The interval of the first event counts from here. */
  at: number;
  bytes: number;
}

/** An event, at a time in milliseconds from the start of the recording. */
export type RecordingEvent = { at: number } & TerminalEvent;

/** Indices of segments; `to` is exclusive. */
export interface SegmentRange {
  from: number;
  to: number;
}

interface ReadBudget {
  bytes: number;
  segments: number;
}

/** The most that is read before a position, to rebuild the screen. */
const SEEK_BUDGET: ReadBudget = { bytes: 512 * 1024, segments: 300 };
/** The most that is read at once during playback. */
const READ_AHEAD_BUDGET: ReadBudget = { bytes: 256 * 1024, segments: 100 };

/** Returns the segments that rebuild the screen at a time: the segment that contains it, and earlier ones within the budget. */
export function segmentsForSeek(segments: readonly Segment[], at: number, budget = SEEK_BUDGET): SegmentRange {
  const last = segmentAt(segments, at);
  let from = last;
  for (let bytes = segments[last]?.bytes ?? 0; from > 1 && last - from + 1 < budget.segments; from--) {
    bytes += segments[from - 1]?.bytes ?? 0;
    if (bytes > budget.bytes) break;
  }
  return { from, to: Math.min(last + 1, segments.length) };
}

/** Returns the index of the last segment that starts at or before a time. */
function segmentAt(segments: readonly Segment[], at: number): number {
  let [low, high] = [1, segments.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((segments[middle]?.at ?? 0) <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Returns the segments to read next, at least one. */
export function nextSegments(segments: readonly Segment[], from: number, budget = READ_AHEAD_BUDGET): SegmentRange {
  let to = Math.min(from + 1, segments.length);
  for (let bytes = segments[from]?.bytes ?? 0; to < segments.length && to - from < budget.segments; to++) {
    bytes += segments[to]?.bytes ?? 0;
    if (bytes > budget.bytes) break;
  }
  return { from, to };
}

/** Parses the text of segments that start at a time. Skips the header and malformed lines. */
export function parseEvents(text: string, at: number): RecordingEvent[] {
  const events: RecordingEvent[] = [];
  for (const line of text.split("\n")) {
    const fields = line.startsWith("[") ? parseLine(line) : null;
    if (!fields) continue;
    at += Math.round(fields.interval * 1000);
    const event = toEvent(at, fields.code, fields.data);
    if (event) events.push(event);
  }
  return events;
}

function parseLine(line: string): { interval: number; code: string; data: string } | null {
  try {
    const [interval, code, data]: unknown[] = JSON.parse(line) as unknown[];
    const isValid = typeof interval === "number" && interval >= 0 && typeof code === "string" && typeof data === "string";
    return isValid ? { interval, code, data } : null;
  } catch {
    return null;
  }
}

function toEvent(at: number, code: string, data: string): RecordingEvent | null {
  switch (code) {
    case "o": return { at, kind: "output", text: data };
    case "m": return { at, kind: "marker", text: data };
    case "x": return { at, kind: "exit", text: data };
    case "r": {
      const size = parseSize(data);
      return size && { at, kind: "size", ...size };
    }
    default: return null;
  }
}

function parseSize(data: string): Size | null {
  const [, columns = 0, rows = 0] = (/^(\d+)x(\d+)$/.exec(data) ?? []).map(Number);
  return columns > 0 && rows > 0 ? drawableSize({ columns, rows }) : null;
}

/** Returns the length of a recording in milliseconds, or its last known time if the length is unknown. */
export function recordingLength(milliseconds: number | null, segments: readonly Segment[]): number {
  return Math.max(milliseconds ?? 0, segments.at(-1)?.at ?? 0);
}
