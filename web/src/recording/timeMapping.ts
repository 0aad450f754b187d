// The mapping between recorded time and the time that playback takes.

/** The recorded time and the played time of one moment, in milliseconds. */
interface TimePoint {
  recorded: number;
  played: number;
}

/** Maps recorded time to played time and back. A gap that is longer than `maxGap` takes only `maxGap` to play. */
export class TimeMapping {
  private readonly points: TimePoint[];

  constructor(
    start: number,
    private readonly maxGap: number | null,
  ) {
    this.points = [{ recorded: start, played: 0 }];
  }

  /** The last known moment. */
  get end(): TimePoint {
    return this.points.at(-1) ?? { recorded: 0, played: 0 };
  }

  /** Adds the time of the next event. */
  add(recorded: number): void {
    const { end, maxGap } = this;
    const gap = recorded - end.recorded;
    if (gap <= 0) return;
    const played = end.played + (maxGap === null ? gap : Math.min(gap, maxGap));
    const previous = this.points.at(-2);
    const isStraight = played - end.played === gap && previous && end.recorded - previous.recorded === end.played - previous.played;
    if (isStraight) this.points.pop();
    this.points.push({ recorded, played });
  }

  toRecorded(played: number): number {
    return this.convert(played, "played", "recorded");
  }

  toPlayed(recorded: number): number {
    return this.convert(recorded, "recorded", "played");
  }

  private convert(value: number, from: keyof TimePoint, to: keyof TimePoint): number {
    const [low, high] = this.surrounding(value, from);
    // Return the end exactly: a rounding error would keep playback from reaching the last event.
    if (value >= high[from]) return high[to];
    const fraction = Math.max(0, (value - low[from]) / (high[from] - low[from]));
    return low[to] + fraction * (high[to] - low[to]);
  }

  /** Returns the two moments around a time. */
  private surrounding(value: number, by: keyof TimePoint): [TimePoint, TimePoint] {
    let [low, high] = [0, this.points.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.points[middle]?.[by] ?? 0) <= value) low = middle;
      else high = middle;
    }
    const last = this.end;
    return [this.points[low] ?? last, this.points[high] ?? last];
  }
}
