// Time as it was recorded, and the time that it takes to show it; what is shown when: pure.

import type { Moment } from "./pieces";

/** A page that nobody sees is not drawn: then what is recorded waits, and does not rush by when it is seen again. */
const LONGEST_TICK = 1000;
/** So many characters of what was shown are kept, to show them again. */
const KEPT = 2_000_000;

/** How much time has gone by, at the speed that is asked for. */
export class Clock {
  speed = 1;
  private last: number | null = null;

  constructor(private readonly now: () => number) {}

  get running(): boolean {
    return this.last !== null;
  }

  start(): void {
    this.last ??= this.now();
  }

  stop(): void {
    this.last = null;
  }

  /** What has gone by since it was asked last. */
  tick(): number {
    if (this.last === null) return 0;
    const now = this.now();
    const gone = Math.min(LONGEST_TICK, Math.max(0, now - this.last));
    this.last = now;
    return gone * this.speed;
  }
}

interface Knot {
  recorded: number;
  played: number;
}

/** Recorded time beside played time, which are the same but in gaps that are longer than the cap: those take as long as it. */
export class Timeline {
  private readonly knots: Knot[];

  constructor(
    start: number,
    private readonly cap: number | null,
  ) {
    this.knots = [{ recorded: start, played: 0 }];
  }

  /** As far as it is known. */
  get end(): Knot {
    return this.knots.at(-1) ?? { recorded: 0, played: 0 };
  }

  /** Something happens then; before that, and after what was added last, nothing does. */
  add(recorded: number): void {
    const { end, cap } = this;
    const gap = recorded - end.recorded;
    if (gap <= 0) return;
    const played = end.played + (cap === null ? gap : Math.min(gap, cap));
    const before = this.knots.at(-2);
    const straight = played - end.played === gap && before && end.recorded - before.recorded === end.played - before.played;
    if (straight) this.knots.pop();
    this.knots.push({ recorded, played });
  }

  recorded(played: number): number {
    return this.across(played, "played", "recorded");
  }

  played(recorded: number): number {
    return this.across(recorded, "recorded", "played");
  }

  private across(value: number, from: keyof Knot, to: keyof Knot): number {
    const [low, high] = this.around(value, from);
    // Exactly so: whatever happens at the end would never be reached by a hair's breadth.
    if (value >= high[from]) return high[to];
    const part = Math.max(0, (value - low[from]) / (high[from] - low[from]));
    return low[to] + part * (high[to] - low[to]);
  }

  /** The two knots that something is between. */
  private around(value: number, by: keyof Knot): [Knot, Knot] {
    let [low, high] = [0, this.knots.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.knots[middle]?.[by] ?? 0) <= value) low = middle;
      else high = middle;
    }
    const last = this.end;
    return [this.knots[low] ?? last, this.knots[high] ?? last];
  }
}

/** What to show to be at a moment; `again` where the screen must be made anew for that. */
export interface Shown {
  again: boolean;
  due: Moment[];
}

const characters = (moment: Moment): number => (moment.kind === "output" ? moment.text.length : 0);

/** A part of a recording that was read: what of it was shown, and what is to come. */
export class Reel {
  private readonly moments: Moment[] = [];
  private next = 0;
  private timeline: Timeline;
  private played = 0;
  /** Characters that were shown and are kept, and that are to come. */
  private behind = 0;
  private before = 0;
  /** From when on all is known that happens; where it was let go of, nothing can be shown again. */
  private start: number | null;
  private known: number;
  private over = false;

  constructor(
    start: number,
    private cap: number | null,
  ) {
    this.start = this.known = start;
    this.timeline = new Timeline(start, cap);
  }

  /** Where it is, in recorded time. */
  get position(): number {
    return this.timeline.recorded(this.played);
  }

  /** What is to come before more must be read: how long that takes to show, and how much it is. */
  get ahead(): { milliseconds: number; characters: number } {
    return { milliseconds: this.timeline.end.played - this.played, characters: this.before };
  }

  /** Whether all is read and shown. */
  get done(): boolean {
    return this.over && this.next === this.moments.length && this.played >= this.timeline.end.played;
  }

  /** Whether it can go no further until more is read. */
  get starved(): boolean {
    return !this.over && this.played >= this.timeline.end.played;
  }

  /** Adds what was read: all that happens until then. */
  add(moments: readonly Moment[], until: number): void {
    for (const moment of moments) {
      this.moments.push(moment);
      this.before += characters(moment);
      this.timeline.add(moment.at);
    }
    this.known = Math.max(this.known, until, moments.at(-1)?.at ?? 0);
  }

  /** There is no more to read; it ends then. */
  finish(total: number): void {
    this.over = true;
    this.known = Math.max(this.known, total);
    this.timeline.add(this.known);
  }

  /** Shortens gaps from here on as another cap has it. */
  shorten(cap: number | null): void {
    this.cap = cap;
    this.begin(this.position);
  }

  /** Goes on for so long, and returns what is to be shown for that. */
  advance(milliseconds: number): Moment[] {
    this.played = Math.min(this.timeline.end.played, this.played + milliseconds);
    return this.take(this.position);
  }

  /** Goes to a moment; nothing where it was not read, or was let go of. */
  seek(to: number): Shown | null {
    const again = to < this.position;
    if (to > this.known || (again && (this.start === null || to < this.start))) return null;
    if (again) this.rewind();
    const due = this.take(to);
    this.begin(to);
    return { again, due };
  }

  private rewind(): void {
    this.next = 0;
    this.before += this.behind;
    this.behind = 0;
  }

  /** Counts time from here on. */
  private begin(at: number): void {
    this.timeline = new Timeline(at, this.cap);
    this.played = 0;
    for (let place = this.next; place < this.moments.length; place++) this.timeline.add(this.moments[place]?.at ?? 0);
    if (this.over) this.timeline.add(this.known);
  }

  private take(until: number): Moment[] {
    const from = this.next;
    for (let moment = this.moments[this.next]; moment && moment.at <= until; moment = this.moments[++this.next]) {
      this.before -= characters(moment);
      this.behind += characters(moment);
    }
    const due = this.moments.slice(from, this.next);
    if (this.behind > KEPT) this.letGo();
    return due;
  }

  private letGo(): void {
    this.moments.splice(0, this.next);
    this.next = this.behind = 0;
    this.start = null;
  }
}
