import { expect, it } from "vitest";
import { nextSegments, parseEvents, recordingLength, type Segment, segmentsForSeek } from "./segments";

const pieces = (count: number, bytes: number, every = 3000): Segment[] =>
  Array.from({ length: count }, (_, at) => ({ at: Math.max(0, at - 1) * every, columns: 80, rows: 24, bytes: at === 0 ? 100 : bytes }));

it("reads the segments before a time, within the budget", () => {
  const many = pieces(9600, 1000);
  expect(segmentsForSeek(many, 20_000_000)).toEqual({ from: 6368, to: 6668 });
  expect(segmentsForSeek(many, 0)).toEqual({ from: 1, to: 2 });
  expect(segmentsForSeek(many, 2999)).toEqual({ from: 1, to: 2 });
  expect(segmentsForSeek(many, 3000)).toEqual({ from: 1, to: 3 });
  expect(segmentsForSeek(many, 1e9)).toEqual({ from: 9300, to: 9600 });
  const heavy = pieces(100, 200 * 1024);
  expect(segmentsForSeek(heavy, 150_000)).toEqual({ from: 50, to: 52 });
  // A segment that exceeds the budget by itself is read nevertheless.
  expect(segmentsForSeek(pieces(100, 600 * 1024), 150_000)).toEqual({ from: 51, to: 52 });
});

it("takes the last of several segments that start at the same time", () => {
  const flood = pieces(10, 256 * 1024, 0);
  expect(segmentsForSeek(flood, 0)).toEqual({ from: 8, to: 10 });
});

it("reads nothing of a recording that has only a header", () => {
  expect(segmentsForSeek(pieces(1, 0), 0)).toEqual({ from: 1, to: 1 });
  expect([recordingLength(null, []), recordingLength(null, pieces(4, 1)), recordingLength(9, pieces(4, 1)), recordingLength(7000, pieces(4, 1))]).toEqual([0, 6000, 6000, 7000]);
});

it("limits the next segments by bytes and number, but reads at least one", () => {
  expect(nextSegments(pieces(9600, 1000), 50)).toEqual({ from: 50, to: 150 });
  expect(nextSegments(pieces(9600, 100 * 1024), 50)).toEqual({ from: 50, to: 52 });
  expect(nextSegments(pieces(9600, 600 * 1024), 50)).toEqual({ from: 50, to: 51 });
  expect(nextSegments(pieces(60, 1000), 50)).toEqual({ from: 50, to: 60 });
  expect(nextSegments(pieces(60, 1000), 60)).toEqual({ from: 60, to: 60 });
});

it("adds up intervals from the start of the segments, in whole milliseconds", () => {
  const text = '{"version":3}\n[0.100, "o", "a\\u001b[1m"]\n[0.200,"r","132x50"]\n\n[0.300,"m",""]\n[1,"x","0"]\n';
  expect(parseEvents(text, 5000)).toEqual([
    { at: 5100, kind: "output", text: "a\u001b[1m" },
    { at: 5300, kind: "size", columns: 132, rows: 50 },
    { at: 5600, kind: "marker", text: "" },
    { at: 6600, kind: "exit", text: "0" },
  ]);
  const tenths = parseEvents('[0.1,"o","x"]\n'.repeat(10_000), 0);
  expect(tenths.at(-1)?.at).toBe(1_000_000);
});

it("skips malformed lines, but counts the time of unknown events", () => {
  const damaged = ['[0.1, "o", "cut', "[]", '["1","o","x"]', '[-1,"o","x"]', '[1,"o",5]', '[1,"i","typed"]', '[1,"r","0x0"]', '[1,"r","big"]', '[1,"o","end"]'];
  expect(parseEvents(damaged.join("\n"), 0)).toEqual([{ at: 4000, kind: "output", text: "end" }]);
  expect(parseEvents('[0,"r","99999x99999"]', 0)).toEqual([{ at: 0, kind: "size", columns: 1000, rows: 1000 }]);
});
