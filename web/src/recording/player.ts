// Plays a recording: reads what it needs of it, and has it shown when it is due.

import { toErrorMessage } from "../api/client";
import type { Recording } from "./ask";
import { length, type Moment, type Range, read, type Size, toRead, toSee } from "./pieces";
import { Clock, Reel } from "./timeline";

/** Where it is shown. */
export interface Stage {
  /** Forgets all that was shown. */
  reset(size: Size): void;
  show(moments: readonly Moment[]): void;
  /** How many characters are still to be drawn. */
  readonly owed: number;
}

export interface Mark {
  at: number;
  text: string;
}

/** How playing stands, for who looks at it. */
export interface Playing {
  state: "playing" | "paused" | "ended";
  /** Whether it waits for what must be read first. */
  waiting: boolean;
  error: string | null;
  position: number;
  total: number;
  /** From when on the screen is made up; null where that is the beginning. */
  drawnFrom: number | null;
  /** Those that were read. */
  markers: readonly Mark[];
  exit: Mark | null;
  speed: number;
  /** Gaps take no longer than this; null where they take as long as they did. */
  cap: number | null;
}

/** More is read where less than this is to come: seconds at the speed that it plays at, and no more than so many characters. */
const [SOON, ENOUGH] = [20_000, 1_000_000];
/** Waits for the screen while it owes more than this. */
const MOST_OWED = 1_000_000;
/** How often it is told where it is. */
const TOLD_EVERY = 100;
/** The end is looked at early, for its markers, where it is no longer than this. */
const SHORT_END = 64 * 1024;

export type Reader = (range: Range, signal: AbortSignal) => Promise<string>;
/** Calls again and again until it is told to stop. */
export type Beat = (call: () => void) => () => void;

export class Player {
  private readonly clock: Clock;
  private readonly listeners = new Set<() => void>();
  private readonly stop: () => void;
  private readonly closed = new AbortController();
  private reel: Reel | null = null;
  /** The first piece of the reel, and the one behind its last. */
  private first = 1;
  private next = 1;
  /** What is being read. */
  private reading: AbortController | null = null;
  private told = 0;
  private playing: Playing;

  constructor(
    private readonly recording: Recording,
    private readonly reader: Reader,
    private readonly stage: Stage,
    beat: Beat,
    private readonly now: () => number,
    { at, cap, play }: { at: number; cap: number | null; play: boolean },
  ) {
    this.clock = new Clock(now);
    const total = length(recording.milliseconds, recording.pieces);
    this.playing = { state: "paused", waiting: false, error: null, position: 0, total, drawnFrom: null, markers: [], exit: null, speed: 1, cap };
    this.stop = beat(() => this.tick());
    this.seek(at);
    void this.readEnd();
    if (play) this.play();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly snapshot = (): Playing => this.playing;

  play(): void {
    if (this.playing.state === "ended") this.seek(0);
    else if (this.playing.error !== null) this.load(this.playing.position);
    this.clock.start();
    this.tell({ state: "playing" });
  }

  pause(): void {
    this.clock.stop();
    if (this.playing.state === "playing") this.tell({ state: "paused", waiting: this.reel === null, position: this.position });
  }

  toggle(): void {
    if (this.playing.state === "playing") this.pause();
    else this.play();
  }

  /** Goes to a moment, and goes on from there as before. */
  seek(to: number): void {
    const position = Math.min(this.playing.total, Math.max(0, Math.round(to)));
    const shown = this.reel?.seek(position) ?? null;
    this.tell({ position, state: this.clock.running ? "playing" : "paused" });
    if (!shown) return this.load(position);
    if (shown.again) this.stage.reset(this.startSize());
    this.stage.show(shown.due);
    this.tell({ waiting: false });
  }

  set speed(speed: number) {
    this.clock.tick();
    this.clock.speed = speed;
    this.tell({ speed });
  }

  set cap(cap: number | null) {
    this.reel?.shorten(cap);
    this.tell({ cap });
  }

  close(): void {
    this.stop();
    this.closed.abort();
    this.reading?.abort();
  }

  /** Where it is now; it is told less often than that. */
  private get position(): number {
    return this.reel?.position ?? this.playing.position;
  }

  private startSize(): Size {
    return this.recording.pieces[this.first] ?? { columns: 80, rows: 24 };
  }

  /** Reads what a moment needs, and shows it; whatever else was being read is of no use any more. */
  private load(to: number): void {
    this.reel = null;
    this.reading?.abort();
    this.tell({ waiting: true, error: null });
    const { pieces } = this.recording;
    const range = toSee(pieces, to);
    void this.get(range, (moments) => {
      const start = pieces[range.from]?.at ?? 0;
      this.first = range.from;
      this.reel = new Reel(Math.min(start, to), this.playing.cap);
      this.take(moments, range);
      this.stage.reset(this.startSize());
      this.stage.show(this.reel.seek(to)?.due ?? []);
      this.clock.tick();
      this.tell({ waiting: false, drawnFrom: range.from > 1 ? start : null });
    });
  }

  private async get(range: Range, then: (moments: Moment[]) => void): Promise<void> {
    const reading = new AbortController();
    this.reading = reading;
    try {
      const text = await this.reader(range, reading.signal);
      if (reading.signal.aborted) return;
      this.reading = null;
      then(read(text, this.recording.pieces[range.from]?.at ?? 0));
    } catch (error) {
      if (reading.signal.aborted) return;
      this.reading = null;
      this.clock.stop();
      // What was shown last is not what the clock says now.
      if (!this.reel) this.stage.reset(this.startSize());
      this.tell({ state: "paused", waiting: false, position: this.position, error: toErrorMessage(error) });
    }
  }

  private take(moments: readonly Moment[], range: Range): void {
    const { pieces } = this.recording;
    this.next = range.to;
    this.remember(moments);
    this.reel?.add(moments, pieces[range.to]?.at ?? 0);
    if (range.to < pieces.length) return;
    // Where it is not told how long it is, it is as long as what it has.
    const total = Math.max(this.playing.total, moments.at(-1)?.at ?? 0);
    this.reel?.finish(total);
    this.tell({ total });
  }

  /** Keeps markers and the exit status, once each. */
  private remember(moments: readonly Moment[]): void {
    const { markers, exit } = this.playing;
    const fresh = moments.flatMap((it): Mark[] => (it.kind === "marker" ? [{ at: it.at, text: it.text }] : []))
      .filter((it) => !markers.some((known) => known.at === it.at && known.text === it.text));
    const left = moments.find((it) => it.kind === "exit");
    if (fresh.length > 0) this.tell({ markers: [...markers, ...fresh].sort((one, other) => one.at - other.at) });
    if (left?.kind === "exit" && !exit) this.tell({ exit: { at: left.at, text: left.text } });
  }

  /** The last piece says how it ended, and how long it is where that is not told. Without it playing goes on as well. */
  private async readEnd(): Promise<void> {
    const { pieces } = this.recording;
    const last = pieces.at(-1);
    if (!last || pieces.length < 2 || last.bytes > SHORT_END) return;
    const text = await this.reader({ from: pieces.length - 1, to: pieces.length }, this.closed.signal).catch(() => "");
    if (this.closed.signal.aborted) return;
    const moments = read(text, last.at);
    this.remember(moments);
    this.tell({ total: Math.max(this.playing.total, moments.at(-1)?.at ?? 0) });
  }

  private tick(): void {
    const gone = this.clock.tick();
    const { reel } = this;
    if (!reel) return;
    if (this.clock.running && this.stage.owed < MOST_OWED) this.stage.show(reel.advance(gone));
    this.readOn(reel);
    if (!this.clock.running) return;
    if (reel.done) {
      this.clock.stop();
      return this.tell({ position: reel.position, state: "ended", waiting: false });
    }
    const waiting = reel.starved;
    if (waiting !== this.playing.waiting || this.now() - this.told >= TOLD_EVERY) this.tell({ position: reel.position, waiting });
  }

  /** Reads more while there is little to come. */
  private readOn(reel: Reel): void {
    const { pieces } = this.recording;
    const { milliseconds, characters } = reel.ahead;
    const enough = characters >= ENOUGH || milliseconds >= SOON * this.clock.speed;
    if (enough || this.reading || this.playing.error !== null || this.next >= pieces.length) return;
    const range = toRead(pieces, this.next);
    void this.get(range, (moments) => this.take(moments, range));
  }

  private tell(news: Partial<Playing>): void {
    this.playing = { ...this.playing, ...news };
    this.told = this.now();
    for (const listener of this.listeners) listener();
  }
}
