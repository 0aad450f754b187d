// The player of a recording: reads its segments and shows the events when they are due.

import { toErrorMessage } from "../api/client";
import type { OutputScreen, Size } from "../xterm/terminalEvents";
import { PlaybackBuffer } from "./playbackBuffer";
import { PlaybackClock } from "./playbackClock";
import type { Recording } from "./recordingApi";
import { nextSegments, parseEvents, type RecordingEvent, recordingLength, type SegmentRange, segmentsForSeek } from "./segments";

interface PlayerScreen extends OutputScreen {
  /** Clears the screen. */
  reset(size: Size): void;
}

/** A text at a time of the recording, in milliseconds. */
export interface TimeMark {
  at: number;
  text: string;
}

/** The state of playback. All times are recorded time in milliseconds. */
export interface PlayerState {
  state: "playing" | "paused" | "ended";
  /** Whether playback waits for data. */
  isBuffering: boolean;
  error: string | null;
  position: number;
  total: number;
  /** The time from which the screen was rebuilt; null if it was rebuilt from the beginning. */
  drawnFrom: number | null;
  /** The markers that have been read. */
  markers: readonly TimeMark[];
  exit: TimeMark | null;
  speed: number;
  /** The longest gap in milliseconds; null plays all gaps in full. */
  maxGap: number | null;
}

/** How far the arrow keys and buttons seek. */
export const SEEK_STEP_MS = 5000;
/** The player reads more while less than this is buffered: a time at the current speed, and a number of characters. */
const READ_AHEAD_MS = 20_000;
const READ_AHEAD_CHARACTERS = 1_000_000;
/** Playback waits while the screen has more characters to draw than this. */
const MAX_PENDING_CHARACTERS = 1_000_000;
/** Interval of position updates. */
const UPDATE_INTERVAL_MS = 100;
/** If the last segment is no longer than this, it is read at the start, for its markers and the exit status. */
const MAX_END_BYTES = 64 * 1024;

export type ReadSegments = (range: SegmentRange, signal: AbortSignal) => Promise<string>;
/** A function that calls `call` on each frame, until the returned function is called. */
type EveryFrame = (call: () => void) => () => void;

export class Player {
  private readonly clock: PlaybackClock;
  private readonly listeners = new Set<() => void>();
  private readonly stop: () => void;
  private readonly closed = new AbortController();
  private buffer: PlaybackBuffer | null = null;
  /** The first segment in the buffer. */
  private firstSegment = 1;
  /** The first segment after the buffer. */
  private nextSegment = 1;
  /** The request in progress. */
  private reading: AbortController | null = null;
  private lastUpdate = 0;
  private state: PlayerState;

  constructor(
    private readonly recording: Recording,
    private readonly readSegments: ReadSegments,
    private readonly screen: PlayerScreen,
    everyFrame: EveryFrame,
    private readonly now: () => number,
    { at, maxGap, play }: { at: number; maxGap: number | null; play: boolean },
  ) {
    this.clock = new PlaybackClock(now);
    const total = recordingLength(recording.milliseconds, recording.pieces);
    this.state = { state: "paused", isBuffering: false, error: null, position: 0, total, drawnFrom: null, markers: [], exit: null, speed: 1, maxGap };
    this.stop = everyFrame(() => this.tick());
    this.seek(at);
    void this.readEnd();
    if (play) this.play();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly snapshot = (): PlayerState => this.state;

  play(): void {
    if (this.state.state === "ended") this.seek(0);
    else if (this.state.error !== null) this.loadAt(this.state.position);
    this.clock.start();
    this.update({ state: "playing" });
  }

  pause(): void {
    this.clock.stop();
    if (this.state.state === "playing") this.update({ state: "paused", isBuffering: this.buffer === null, position: this.position });
  }

  toggle(): void {
    if (this.state.state === "playing") this.pause();
    else this.play();
  }

  /** Moves to a time. If playback was running, it continues from there. */
  seek(to: number): void {
    const position = Math.min(this.state.total, Math.max(0, Math.round(to)));
    const result = this.buffer?.seek(position) ?? null;
    this.update({ position, state: this.clock.running ? "playing" : "paused" });
    if (!result) return this.loadAt(position);
    if (result.reset) this.screen.reset(this.startSize());
    this.screen.show(result.due);
    this.update({ isBuffering: false });
  }

  set speed(speed: number) {
    this.clock.tick();
    this.clock.speed = speed;
    this.update({ speed });
  }

  set maxGap(maxGap: number | null) {
    this.buffer?.setMaxGap(maxGap);
    this.update({ maxGap });
  }

  close(): void {
    this.stop();
    this.closed.abort();
    this.reading?.abort();
  }

  /** The playback position. `state.position` lags behind it by up to `UPDATE_INTERVAL_MS`. */
  private get position(): number {
    return this.buffer?.position ?? this.state.position;
  }

  private startSize(): Size {
    return this.recording.pieces[this.firstSegment] ?? { columns: 80, rows: 24 };
  }

  /** Reads the segments for a time and shows them. Cancels the request in progress, if there is one. */
  private loadAt(to: number): void {
    this.buffer = null;
    this.reading?.abort();
    this.update({ isBuffering: true, error: null });
    const { pieces } = this.recording;
    const range = segmentsForSeek(pieces, to);
    void this.readRange(range, (events) => {
      const start = pieces[range.from]?.at ?? 0;
      this.firstSegment = range.from;
      this.buffer = new PlaybackBuffer(Math.min(start, to), this.state.maxGap);
      this.append(events, range);
      this.screen.reset(this.startSize());
      this.screen.show(this.buffer.seek(to)?.due ?? []);
      this.clock.tick();
      this.update({ isBuffering: false, drawnFrom: range.from > 1 ? start : null });
    });
  }

  private async readRange(range: SegmentRange, onEvents: (events: RecordingEvent[]) => void): Promise<void> {
    const reading = new AbortController();
    this.reading = reading;
    try {
      const text = await this.readSegments(range, reading.signal);
      if (reading.signal.aborted) return;
      this.reading = null;
      onEvents(parseEvents(text, this.recording.pieces[range.from]?.at ?? 0));
    } catch (error) {
      if (reading.signal.aborted) return;
      this.reading = null;
      this.clock.stop();
      // The screen still shows another time, so clear it.
      if (!this.buffer) this.screen.reset(this.startSize());
      this.update({ state: "paused", isBuffering: false, position: this.position, error: toErrorMessage(error) });
    }
  }

  private append(events: readonly RecordingEvent[], range: SegmentRange): void {
    const { pieces } = this.recording;
    this.nextSegment = range.to;
    this.collectMarks(events);
    this.buffer?.add(events, pieces[range.to]?.at ?? 0);
    if (range.to < pieces.length) return;
    // If the length is unknown, the last event is the end.
    const total = Math.max(this.state.total, events.at(-1)?.at ?? 0);
    this.buffer?.finish(total);
    this.update({ total });
  }

  /** Adds the markers and the exit status among the events to the state, each of them once. */
  private collectMarks(events: readonly RecordingEvent[]): void {
    const { markers, exit } = this.state;
    const newMarkers = events.flatMap((it): TimeMark[] => (it.kind === "marker" ? [{ at: it.at, text: it.text }] : []))
      .filter((it) => !markers.some((known) => known.at === it.at && known.text === it.text));
    const exitEvent = events.find((it) => it.kind === "exit");
    if (newMarkers.length > 0) this.update({ markers: [...markers, ...newMarkers].sort((one, other) => one.at - other.at) });
    if (exitEvent?.kind === "exit" && !exit) this.update({ exit: { at: exitEvent.at, text: exitEvent.text } });
  }

  /** Reads the last segment for the exit status and the length. Playback does not need it, so errors are ignored. */
  private async readEnd(): Promise<void> {
    const { pieces } = this.recording;
    const last = pieces.at(-1);
    if (!last || pieces.length < 2 || last.bytes > MAX_END_BYTES) return;
    const text = await this.readSegments({ from: pieces.length - 1, to: pieces.length }, this.closed.signal).catch(() => "");
    if (this.closed.signal.aborted) return;
    const events = parseEvents(text, last.at);
    this.collectMarks(events);
    this.update({ total: Math.max(this.state.total, events.at(-1)?.at ?? 0) });
  }

  private tick(): void {
    const elapsed = this.clock.tick();
    const { buffer } = this;
    if (!buffer) return;
    if (this.clock.running && this.screen.pendingCharacters < MAX_PENDING_CHARACTERS) this.screen.show(buffer.advance(elapsed));
    this.readAhead(buffer);
    if (!this.clock.running) return;
    if (buffer.isFinished) {
      this.clock.stop();
      return this.update({ position: buffer.position, state: "ended", isBuffering: false });
    }
    const isBuffering = buffer.isStarved;
    const isDue = isBuffering !== this.state.isBuffering || this.now() - this.lastUpdate >= UPDATE_INTERVAL_MS;
    if (isDue) this.update({ position: buffer.position, isBuffering });
  }

  /** Reads more while little is buffered. */
  private readAhead(buffer: PlaybackBuffer): void {
    const { pieces } = this.recording;
    const { milliseconds, characters } = buffer.ahead;
    const isEnough = characters >= READ_AHEAD_CHARACTERS || milliseconds >= READ_AHEAD_MS * this.clock.speed;
    if (isEnough || this.reading || this.state.error !== null || this.nextSegment >= pieces.length) return;
    const range = nextSegments(pieces, this.nextSegment);
    void this.readRange(range, (events) => this.append(events, range));
  }

  private update(change: Partial<PlayerState>): void {
    this.state = { ...this.state, ...change };
    this.lastUpdate = this.now();
    for (const listener of this.listeners) listener();
  }
}
