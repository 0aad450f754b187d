import { beforeEach, expect, it } from "vitest";
import type { Recording } from "./ask";
import type { Moment, Piece, Range, Size } from "./pieces";
import { Player, type Playing } from "./player";

let now = 0;
let beat = (): void => undefined;
let asked: { range: Range; signal: AbortSignal; answer: (text: string) => void; fail: (error: Error) => void }[] = [];
let shown: string[] = [];
const stage = {
  owed: 0,
  reset: ({ columns }: Size): void => void shown.push(`reset ${columns}`),
  show: (moments: readonly Moment[]): void => void shown.push(...moments.map((it) => (it.kind === "output" ? it.text : it.kind))),
};

beforeEach(() => {
  now = 0;
  asked = [];
  shown = [];
  stage.owed = 0;
});

/** A second of recording in each piece: two outputs. */
function recording(count: number, more: Partial<Recording> = {}): Recording {
  const piece = (at: number): Piece => ({ at: Math.max(0, at - 1) * 1000, columns: 80 + at, rows: 24, bytes: 4096 });
  return { number: 1, complete: true, milliseconds: (count - 1) * 1000, began: null, title: null, pieces: Array.from({ length: count }, (_, at) => piece(at)), ...more };
}

const textOf = ({ from, to }: Range): string =>
  Array.from({ length: to - from }, (_, at) => `[0.5,"o","${from + at}a"]\n[0.5,"o","${from + at}b"]\n`).join("");

function open(of: Recording, at = 0, play = false): Player {
  const reader = (range: Range, signal: AbortSignal): Promise<string> =>
    new Promise((answer, fail) => {
      asked.push({ range, signal, answer, fail });
      signal.addEventListener("abort", () => fail(new Error("aborted")));
    });
  return new Player(of, reader, stage, (call) => ((beat = call), () => (beat = () => undefined)), () => now, { at, cap: null, play });
}

const settle = (): Promise<void> => new Promise((done) => setTimeout(done));
async function answer(place: number): Promise<void> {
  asked[place]!.answer(textOf(asked[place]!.range));
  await settle();
}
function pass(milliseconds: number): void {
  for (let gone = 0; gone < milliseconds; gone += 100) {
    now += 100;
    beat();
  }
}
const state = (player: Player): Pick<Playing, "state" | "waiting" | "position"> => {
  const { state, waiting, position } = player.snapshot();
  return { state, waiting, position };
};

it("shows a moment of a long recording from a bounded part of it", async () => {
  const player = open(recording(28_800), 20_000_500);
  expect(asked.map(({ range }) => range)).toEqual([{ from: 19_874, to: 20_002 }, { from: 28_799, to: 28_800 }]);
  expect(state(player)).toEqual({ state: "paused", waiting: true, position: 20_000_500 });
  await answer(0);
  expect([shown[0], shown.at(-1)]).toEqual(["reset 19954", "20001a"]);
  expect(state(player)).toEqual({ state: "paused", waiting: false, position: 20_000_500 });
  expect(player.snapshot().drawnFrom).toBe(19_873_000);
});

it("forgets what an older moment needs", async () => {
  const player = open(recording(28_800), 5_000_000);
  player.seek(9_000_000);
  player.seek(12_000_000);
  const reads = asked.filter(({ range }) => range.to < 28_800);
  expect(reads.map(({ signal }) => signal.aborted)).toEqual([true, true, false]);
  await settle();
  expect(shown).toEqual([]);
  await answer(asked.indexOf(reads[2]!));
  expect(shown.at(-1)).toBe("12000b");
  player.close();
  expect(player.snapshot().error).toBe(null);
});

it("reads on before it must, one part at a time, and no more than is enough", async () => {
  const player = open(recording(1000), 0, true);
  await answer(0);
  pass(100);
  const next = asked.at(-1)!;
  expect(next.range).toEqual({ from: 2, to: 66 });
  pass(5000);
  expect(asked.at(-1)).toBe(next);
  expect(state(player)).toMatchObject({ waiting: true, position: 1000 });
  await answer(asked.indexOf(next));
  pass(44_000);
  expect(asked.at(-1)).toBe(next);
  expect(state(player)).toEqual({ state: "playing", waiting: false, position: 45_000 });
  pass(200);
  expect(asked.at(-1)!.range).toEqual({ from: 66, to: 130 });
  expect(shown.filter((it) => it === "30a")).toHaveLength(1);
});

it("is told how fast, and holds while the screen lags behind", async () => {
  const player = open(recording(50), 0, true);
  await answer(0);
  pass(100);
  await answer(asked.length - 1);
  player.speed = 16;
  pass(1000);
  expect(state(player).position).toBe(16_100);
  stage.owed = 2_000_000;
  pass(1000);
  expect(state(player).position).toBe(16_100);
  stage.owed = 0;
  pass(100);
  expect(state(player).position).toBe(17_700);
});

it("comes to the end, says how it ended, and plays again from the beginning", async () => {
  const player = open(recording(3, { milliseconds: null }), 0, true);
  asked[1]!.answer('[0.5,"o","end"]\n[0.1,"m","gone"]\n[0.2,"x","3"]\n');
  await settle();
  expect(player.snapshot()).toMatchObject({ total: 1800, markers: [{ at: 1600, text: "gone" }], exit: { at: 1800, text: "3" } });
  await answer(0);
  pass(100);
  asked[2]!.answer('[0.5,"o","end"]\n[0.1,"m","gone"]\n[0.2,"x","3"]\n');
  await settle();
  pass(2000);
  expect(state(player)).toEqual({ state: "ended", waiting: false, position: 1800 });
  expect(player.snapshot().markers).toHaveLength(1);
  player.toggle();
  expect(state(player)).toEqual({ state: "playing", waiting: false, position: 0 });
  expect(shown.at(-1)).toBe("reset 81");
  now += 30;
  beat();
  player.pause();
  expect(state(player)).toEqual({ state: "paused", waiting: false, position: 30 });
});

it("says what went wrong, and tries again where it was", async () => {
  const player = open(recording(1000), 0, true);
  await answer(0);
  pass(100);
  asked.at(-1)!.fail(new Error("The store does not answer."));
  await settle();
  pass(1000);
  expect(player.snapshot()).toMatchObject({ state: "paused", error: "The store does not answer.", position: 100 });
  const before = asked.length;
  player.play();
  expect(asked).toHaveLength(before + 1);
  await answer(before);
  pass(600);
  expect(player.snapshot()).toMatchObject({ state: "playing", error: null });
  expect(shown.at(-1)).toBe("1a");
  player.seek(500_000);
  asked.at(-1)!.fail(new Error("The store does not answer."));
  await settle();
  // What was shown last is of another time.
  expect([shown.at(-1), player.snapshot().position]).toEqual(["reset 81", 500_000]);
});
