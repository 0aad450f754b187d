import { expect, it } from "vitest";
import { bounded, length, type Piece, read, toRead, toSee } from "./pieces";

const pieces = (count: number, bytes: number, every = 3000): Piece[] =>
  Array.from({ length: count }, (_, at) => ({ at: Math.max(0, at - 1) * every, columns: 80, rows: 24, bytes: at === 0 ? 100 : bytes }));

it("reads what is before a moment, but no more than the budget lets through", () => {
  const many = pieces(9600, 1000);
  expect(toSee(many, 20_000_000)).toEqual({ from: 6368, to: 6668 });
  expect(toSee(many, 0)).toEqual({ from: 1, to: 2 });
  expect(toSee(many, 2999)).toEqual({ from: 1, to: 2 });
  expect(toSee(many, 3000)).toEqual({ from: 1, to: 3 });
  expect(toSee(many, 1e9)).toEqual({ from: 9300, to: 9600 });
  const heavy = pieces(100, 200 * 1024);
  expect(toSee(heavy, 150_000)).toEqual({ from: 50, to: 52 });
  // A piece that is too much by itself must be read all the same.
  expect(toSee(pieces(100, 600 * 1024), 150_000)).toEqual({ from: 51, to: 52 });
});

it("takes the last of the pieces that begin with a moment, for what happens then", () => {
  const flood = pieces(10, 256 * 1024, 0);
  expect(toSee(flood, 0)).toEqual({ from: 8, to: 10 });
});

it("has nothing to read of a recording without pieces but its header", () => {
  expect(toSee(pieces(1, 0), 0)).toEqual({ from: 1, to: 1 });
  expect([length(null, []), length(null, pieces(4, 1)), length(9, pieces(4, 1)), length(7000, pieces(4, 1))]).toEqual([0, 6000, 6000, 7000]);
});

it("reads on by bytes and by pieces, one at least", () => {
  expect(toRead(pieces(9600, 1000), 50)).toEqual({ from: 50, to: 150 });
  expect(toRead(pieces(9600, 100 * 1024), 50)).toEqual({ from: 50, to: 52 });
  expect(toRead(pieces(9600, 600 * 1024), 50)).toEqual({ from: 50, to: 51 });
  expect(toRead(pieces(60, 1000), 50)).toEqual({ from: 50, to: 60 });
  expect(toRead(pieces(60, 1000), 60)).toEqual({ from: 60, to: 60 });
});

it("adds up intervals from where the pieces begin, in whole milliseconds", () => {
  const text = '{"version":3}\n[0.100, "o", "a\\u001b[1m"]\n[0.200,"r","132x50"]\n\n[0.300,"m",""]\n[1,"x","0"]\n';
  expect(read(text, 5000)).toEqual([
    { at: 5100, kind: "output", text: "a\u001b[1m" },
    { at: 5300, kind: "size", columns: 132, rows: 50 },
    { at: 5600, kind: "marker", text: "" },
    { at: 6600, kind: "exit", text: "0" },
  ]);
  const tenths = read('[0.1,"o","x"]\n'.repeat(10_000), 0);
  expect(tenths.at(-1)?.at).toBe(1_000_000);
});

it("leaves out what is damaged, and counts the time of what it does not know", () => {
  const damaged = ['[0.1, "o", "cut', "[]", '["1","o","x"]', '[-1,"o","x"]', '[1,"o",5]', '[1,"i","typed"]', '[1,"r","0x0"]', '[1,"r","big"]', '[1,"o","end"]'];
  expect(read(damaged.join("\n"), 0)).toEqual([{ at: 4000, kind: "output", text: "end" }]);
  expect(read('[0,"r","99999x99999"]', 0)).toEqual([{ at: 0, kind: "size", columns: 1000, rows: 1000 }]);
});

it("draws a terminal that had no size as the usual one, and none that is too large", () => {
  expect(bounded({ columns: 0, rows: 0 })).toEqual({ columns: 80, rows: 24 });
  expect(bounded({ columns: 5000, rows: 50 })).toEqual({ columns: 1000, rows: 50 });
});
