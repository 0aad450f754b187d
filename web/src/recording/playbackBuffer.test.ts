import { describe, expect, it } from "vitest";
import { PlaybackBuffer } from "./playbackBuffer";
import type { RecordingEvent } from "./segments";

const output = (at: number, text = `${at}`): RecordingEvent => ({ at, kind: "output", text });
const texts = (moments: readonly RecordingEvent[]): string => moments.map((it) => (it.kind === "output" ? it.text : it.kind)).join(" ");

describe("a buffer", () => {
  it("shows each event once, when it is due", () => {
    const buffer = new PlaybackBuffer(0, 1000);
    buffer.add([output(0), output(500), output(60_500), output(60_600)], 60_600);
    buffer.finish(61_000);
    expect(texts(buffer.seek(0)!.due)).toBe("0");
    expect(texts(buffer.advance(499))).toBe("");
    expect(texts(buffer.advance(1))).toBe("500");
    expect(texts(buffer.advance(999))).toBe("");
    expect(buffer.position).toBeCloseTo(60_440, 0);
    expect(texts(buffer.advance(1))).toBe("60500");
    expect(buffer.isFinished).toBe(false);
    expect(texts(buffer.advance(1e6))).toBe("60600");
    expect([buffer.isFinished, buffer.position]).toEqual([true, 61_000]);
  });

  it("waits for events that are not read, and goes on from there", () => {
    const buffer = new PlaybackBuffer(0, null);
    expect(buffer.isStarved).toBe(true);
    buffer.add([output(100)], 100);
    expect(texts(buffer.advance(5000))).toBe("100");
    expect([buffer.position, buffer.isStarved, buffer.isFinished]).toEqual([100, true, false]);
    buffer.add([output(150), output(300)], 300);
    expect([buffer.isStarved, buffer.ahead]).toEqual([false, { milliseconds: 200, characters: 6 }]);
    expect(texts(buffer.advance(60))).toBe("150");
  });

  it("seeks within what was read: forward from the position, back from the start", () => {
    const buffer = new PlaybackBuffer(1000, 2000);
    buffer.add([output(1100), output(2000), output(90_000), output(91_000)], 91_000);
    expect(buffer.seek(2500)).toEqual({ reset: false, due: [output(1100), output(2000)] });
    expect(buffer.position).toBe(2500);
    expect(buffer.seek(1999)).toEqual({ reset: true, due: [output(1100)] });
    expect([buffer.seek(91_001), buffer.seek(999), buffer.position]).toEqual([null, null, 1999]);
    expect(texts(buffer.advance(1))).toBe("2000");
    // In the middle of a gap only the rest of it counts.
    buffer.seek(89_500);
    expect(buffer.ahead.milliseconds).toBe(1500);
  });

  it("changes the longest gap from its position on", () => {
    const buffer = new PlaybackBuffer(0, null);
    buffer.add([output(100_000), output(200_000)], 200_000);
    buffer.advance(50_000);
    buffer.setMaxGap(1000);
    expect([buffer.position, buffer.ahead.milliseconds]).toEqual([50_000, 2000]);
    expect(texts(buffer.advance(2000))).toBe("100000 200000");
    const odd = new PlaybackBuffer(0, 1000);
    odd.add([output(100_001)], 100_001);
    odd.advance(333.3);
    odd.setMaxGap(2000);
    expect(texts(odd.advance(2000))).toBe("100001");
  });

  it("drops events that were shown long ago, and then refuses to seek back to them", () => {
    const buffer = new PlaybackBuffer(0, null);
    const much = "x".repeat(1_000_000);
    for (let at = 1; at <= 4; at++) buffer.add([output(at * 1000, much)], at * 1000);
    buffer.advance(2000);
    expect(buffer.seek(500)?.due).toEqual([]);
    expect(buffer.seek(3000)?.due).toHaveLength(3);
    expect([buffer.seek(500), buffer.seek(3500)?.due, buffer.ahead.characters]).toEqual([null, [], 1_000_000]);
  });
});
