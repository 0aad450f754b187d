import { beforeEach, expect, it } from "vitest";
import type { Size } from "../xterm/terminalEvents";
import { Player, type PlayerState } from "./player";
import type { Recording } from "./recordingApi";
import type { RecordingEvent, Segment, SegmentRange } from "./segments";

let now = 0;
let tick = (): void => undefined;
let requests: { range: SegmentRange; signal: AbortSignal; answer: (text: string) => void; fail: (error: Error) => void }[] = [];
let shown: string[] = [];
const screen = {
  pendingCharacters: 0,
  reset: ({ columns }: Size): void => void shown.push(`reset ${columns}`),
  show: (events: readonly RecordingEvent[]): void => void shown.push(...events.map((it) => (it.kind === "output" ? it.text : it.kind))),
};

beforeEach(() => {
  now = 0;
  requests = [];
  shown = [];
  screen.pendingCharacters = 0;
});

/** A recording whose segments take a second each and have two outputs. */
function recording(count: number, more: Partial<Recording> = {}): Recording {
  const piece = (at: number): Segment => ({ at: Math.max(0, at - 1) * 1000, columns: 80 + at, rows: 24, bytes: 4096 });
  return { number: 1, complete: true, milliseconds: (count - 1) * 1000, began: null, title: null, pieces: Array.from({ length: count }, (_, at) => piece(at)), ...more };
}

const textOf = ({ from, to }: SegmentRange): string =>
  Array.from({ length: to - from }, (_, at) => `[0.5,"o","${from + at}a"]\n[0.5,"o","${from + at}b"]\n`).join("");

function open(of: Recording, at = 0, play = false): Player {
  const reader = (range: SegmentRange, signal: AbortSignal): Promise<string> =>
    new Promise((answer, fail) => {
      requests.push({ range, signal, answer, fail });
      signal.addEventListener("abort", () => fail(new Error("aborted")));
    });
  return new Player(of, reader, screen, (call) => ((tick = call), () => (tick = () => undefined)), () => now, { at, maxGap: null, play });
}

const settle = (): Promise<void> => new Promise((done) => setTimeout(done));
async function answer(place: number): Promise<void> {
  requests[place]!.answer(textOf(requests[place]!.range));
  await settle();
}
function pass(milliseconds: number): void {
  for (let gone = 0; gone < milliseconds; gone += 100) {
    now += 100;
    tick();
  }
}
const state = (player: Player): Pick<PlayerState, "state" | "isBuffering" | "position"> => {
  const { state, isBuffering, position } = player.snapshot();
  return { state, isBuffering, position };
};

it("shows a time in a long recording by reading a bounded part of it", async () => {
  const player = open(recording(28_800), 20_000_500);
  expect(requests.map(({ range }) => range)).toEqual([{ from: 19_874, to: 20_002 }, { from: 28_799, to: 28_800 }]);
  expect(state(player)).toEqual({ state: "paused", isBuffering: true, position: 20_000_500 });
  await answer(0);
  expect([shown[0], shown.at(-1)]).toEqual(["reset 19954", "20001a"]);
  expect(state(player)).toEqual({ state: "paused", isBuffering: false, position: 20_000_500 });
  expect(player.snapshot().drawnFrom).toBe(19_873_000);
});

it("cancels requests for an earlier seek", async () => {
  const player = open(recording(28_800), 5_000_000);
  player.seek(9_000_000);
  player.seek(12_000_000);
  const reads = requests.filter(({ range }) => range.to < 28_800);
  expect(reads.map(({ signal }) => signal.aborted)).toEqual([true, true, false]);
  await settle();
  expect(shown).toEqual([]);
  await answer(requests.indexOf(reads[2]!));
  expect(shown.at(-1)).toBe("12000b");
  player.close();
  expect(player.snapshot().error).toBe(null);
});

it("reads ahead, one range at a time, and no more than necessary", async () => {
  const player = open(recording(1000), 0, true);
  await answer(0);
  pass(100);
  const next = requests.at(-1)!;
  expect(next.range).toEqual({ from: 2, to: 66 });
  pass(5000);
  expect(requests.at(-1)).toBe(next);
  expect(state(player)).toMatchObject({ isBuffering: true, position: 1000 });
  await answer(requests.indexOf(next));
  pass(44_000);
  expect(requests.at(-1)).toBe(next);
  expect(state(player)).toEqual({ state: "playing", isBuffering: false, position: 45_000 });
  pass(200);
  expect(requests.at(-1)!.range).toEqual({ from: 66, to: 130 });
  expect(shown.filter((it) => it === "30a")).toHaveLength(1);
});

it("plays at the given speed, and waits while the screen is behind", async () => {
  const player = open(recording(50), 0, true);
  await answer(0);
  pass(100);
  await answer(requests.length - 1);
  player.speed = 16;
  pass(1000);
  expect(state(player).position).toBe(16_100);
  screen.pendingCharacters = 2_000_000;
  pass(1000);
  expect(state(player).position).toBe(16_100);
  screen.pendingCharacters = 0;
  pass(100);
  expect(state(player).position).toBe(17_700);
});

it("reaches the end, reports the exit status, and plays again from the beginning", async () => {
  const player = open(recording(3, { milliseconds: null }), 0, true);
  requests[1]!.answer('[0.5,"o","end"]\n[0.1,"m","gone"]\n[0.2,"x","3"]\n');
  await settle();
  expect(player.snapshot()).toMatchObject({ total: 1800, markers: [{ at: 1600, text: "gone" }], exit: { at: 1800, text: "3" } });
  await answer(0);
  pass(100);
  requests[2]!.answer('[0.5,"o","end"]\n[0.1,"m","gone"]\n[0.2,"x","3"]\n');
  await settle();
  pass(2000);
  expect(state(player)).toEqual({ state: "ended", isBuffering: false, position: 1800 });
  expect(player.snapshot().markers).toHaveLength(1);
  player.toggle();
  expect(state(player)).toEqual({ state: "playing", isBuffering: false, position: 0 });
  expect(shown.at(-1)).toBe("reset 81");
  now += 30;
  tick();
  player.pause();
  expect(state(player)).toEqual({ state: "paused", isBuffering: false, position: 30 });
});

it("reports an error, and tries again at its position", async () => {
  const player = open(recording(1000), 0, true);
  await answer(0);
  pass(100);
  requests.at(-1)!.fail(new Error("The store does not answer."));
  await settle();
  pass(1000);
  expect(player.snapshot()).toMatchObject({ state: "paused", error: "The store does not answer.", position: 100 });
  const before = requests.length;
  player.play();
  expect(requests).toHaveLength(before + 1);
  await answer(before);
  pass(600);
  expect(player.snapshot()).toMatchObject({ state: "playing", error: null });
  expect(shown.at(-1)).toBe("1a");
  player.seek(500_000);
  requests.at(-1)!.fail(new Error("The store does not answer."));
  await settle();
  // The screen showed another time, so it is cleared.
  expect([shown.at(-1), player.snapshot().position]).toEqual(["reset 81", 500_000]);
});
