// The part of a recording that has been read, and the position of playback in that part.

import type { RecordingEvent } from "./segments";
import { TimeMapping } from "./timeMapping";

/** The most characters that are kept after they were shown, so that playback can seek back without reading again. */
const MAX_KEPT_CHARACTERS = 2_000_000;

/** The events to show for a seek. `reset` says whether the screen must be cleared first. */
interface SeekResult {
  reset: boolean;
  due: RecordingEvent[];
}

const charactersOf = (event: RecordingEvent): number => (event.kind === "output" ? event.text.length : 0);

export class PlaybackBuffer {
  private readonly events: RecordingEvent[] = [];
  /** The index of the next event to show. */
  private next = 0;
  private timeMapping: TimeMapping;
  /** The position in played time. */
  private played = 0;
  /** The number of characters of events that were shown and are kept. */
  private keptCharacters = 0;
  /** The number of characters of events that are not shown yet. */
  private pendingCharacters = 0;
  /** The recorded time from which all events are kept; null once some were dropped. */
  private start: number | null;
  /** The recorded time up to which all events have been read. */
  private knownUntil: number;
  private isComplete = false;

  constructor(
    start: number,
    private maxGap: number | null,
  ) {
    this.start = this.knownUntil = start;
    this.timeMapping = new TimeMapping(start, maxGap);
  }

  /** The position in recorded time. */
  get position(): number {
    return this.timeMapping.toRecorded(this.played);
  }

  /** How much can be played before more must be read. */
  get ahead(): { milliseconds: number; characters: number } {
    return { milliseconds: this.timeMapping.end.played - this.played, characters: this.pendingCharacters };
  }

  /** Whether everything was read and shown. */
  get isFinished(): boolean {
    return this.isComplete && this.next === this.events.length && this.played >= this.timeMapping.end.played;
  }

  /** Whether playback cannot go on until more is read. */
  get isStarved(): boolean {
    return !this.isComplete && this.played >= this.timeMapping.end.played;
  }

  /** Adds events that were read: all events up to the recorded time `until`. */
  add(events: readonly RecordingEvent[], until: number): void {
    for (const event of events) {
      this.events.push(event);
      this.pendingCharacters += charactersOf(event);
      this.timeMapping.add(event.at);
    }
    this.knownUntil = Math.max(this.knownUntil, until, events.at(-1)?.at ?? 0);
  }

  /** Marks the recording as read to its end, at `total`. */
  finish(total: number): void {
    this.isComplete = true;
    this.knownUntil = Math.max(this.knownUntil, total);
    this.timeMapping.add(this.knownUntil);
  }

  /** Changes the longest gap. The change applies from the current position on. */
  setMaxGap(maxGap: number | null): void {
    this.maxGap = maxGap;
    this.restartMapping(this.position);
  }

  /** Advances by played time, and returns the events to show. */
  advance(milliseconds: number): RecordingEvent[] {
    this.played = Math.min(this.timeMapping.end.played, this.played + milliseconds);
    return this.take(this.position);
  }

  /** Moves to a recorded time. Returns null if the events at that time were not read, or were dropped. */
  seek(to: number): SeekResult | null {
    const isBackward = to < this.position;
    if (to > this.knownUntil || (isBackward && (this.start === null || to < this.start))) return null;
    if (isBackward) this.rewind();
    const due = this.take(to);
    this.restartMapping(to);
    return { reset: isBackward, due };
  }

  private rewind(): void {
    this.next = 0;
    this.pendingCharacters += this.keptCharacters;
    this.keptCharacters = 0;
  }

  /** Starts a new mapping of times, which begins at the recorded time `at`. */
  private restartMapping(at: number): void {
    this.timeMapping = new TimeMapping(at, this.maxGap);
    this.played = 0;
    for (const event of this.events.slice(this.next)) this.timeMapping.add(event.at);
    if (this.isComplete) this.timeMapping.add(this.knownUntil);
  }

  private take(until: number): RecordingEvent[] {
    const from = this.next;
    for (let event = this.events[this.next]; event && event.at <= until; event = this.events[++this.next]) {
      this.pendingCharacters -= charactersOf(event);
      this.keptCharacters += charactersOf(event);
    }
    const due = this.events.slice(from, this.next);
    if (this.keptCharacters > MAX_KEPT_CHARACTERS) this.dropShown();
    return due;
  }

  private dropShown(): void {
    this.events.splice(0, this.next);
    this.next = this.keptCharacters = 0;
    this.start = null;
  }
}
