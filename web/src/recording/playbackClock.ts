// The clock of playback.

/** The longest step of the clock. A hidden page has no frames, so playback pauses there and must not jump ahead afterwards. */
const MAX_TICK_MS = 1000;

/** Measures time, scaled by the playback speed. */
export class PlaybackClock {
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

  /** Returns the scaled milliseconds since the last call. */
  tick(): number {
    if (this.last === null) return 0;
    const now = this.now();
    const elapsed = Math.min(MAX_TICK_MS, Math.max(0, now - this.last));
    this.last = now;
    return elapsed * this.speed;
  }
}
