import { describe, expect, it } from "vitest";
import type { Moment } from "./pieces";
import { Clock, Reel, Timeline } from "./timeline";

const output = (at: number, text = `${at}`): Moment => ({ at, kind: "output", text });
const texts = (moments: readonly Moment[]): string => moments.map((it) => (it.kind === "output" ? it.text : it.kind)).join(" ");

describe("a timeline", () => {
  it("shortens gaps that are longer than the cap, and nothing else", () => {
    const timeline = new Timeline(1000, 2000);
    for (const at of [1500, 3000, 603_000, 603_500, 605_500]) timeline.add(at);
    expect(timeline.end).toEqual({ recorded: 605_500, played: 2000 + 2000 + 2500 });
    for (const [recorded, played] of [[1000, 0], [1500, 500], [3000, 2000], [303_000, 3000], [603_000, 4000], [604_500, 5500]] as const) {
      expect(timeline.played(recorded)).toBeCloseTo(played, 6);
      expect(timeline.recorded(played)).toBeCloseTo(recorded, 6);
    }
    expect([timeline.recorded(-5), timeline.recorded(1e9), timeline.played(0), timeline.played(1e9)]).toEqual([1000, 605_500, 0, 6500]);
  });

  it("is as it was recorded without a cap, and where nothing is known yet", () => {
    const timeline = new Timeline(0, null);
    expect(timeline.recorded(500)).toBe(0);
    timeline.add(3_600_000);
    expect([timeline.recorded(1_800_000), timeline.end.played]).toEqual([1_800_000, 3_600_000]);
    timeline.add(3_600_000);
    timeline.add(10);
    expect(timeline.end.recorded).toBe(3_600_000);
  });

  it("agrees with itself wherever gaps are", () => {
    let seed = 7;
    const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
    const timeline = new Timeline(0, 1000);
    const times = [0];
    for (let count = 0; count < 500; count++) times.push(times[count]! + Math.round(random() < 0.1 ? random() * 1e6 : random() * 1500));
    let played = 0;
    times.slice(1).forEach((at, place) => {
      timeline.add(at);
      played += Math.min(1000, at - times[place]!);
    });
    expect(timeline.end.played).toBeCloseTo(played, 3);
    for (const at of times) expect(timeline.recorded(timeline.played(at))).toBeCloseTo(at, 3);
    for (let at = 0; at < played; at += 777) expect(timeline.played(timeline.recorded(at))).toBeCloseTo(at, 3);
  });
});

it("counts time at its speed, while it runs and is looked at", () => {
  let now = 100;
  const clock = new Clock(() => now);
  expect(clock.tick()).toBe(0);
  clock.start();
  now += 20;
  expect(clock.tick()).toBe(20);
  clock.speed = 16;
  now += 10;
  clock.start();
  expect(clock.tick()).toBe(160);
  now += 3_600_000;
  expect(clock.tick()).toBe(16_000);
  clock.stop();
  now += 50;
  expect([clock.tick(), clock.running]).toEqual([0, false]);
});

describe("a reel", () => {
  it("shows each thing once, when it is due", () => {
    const reel = new Reel(0, 1000);
    reel.add([output(0), output(500), output(60_500), output(60_600)], 60_600);
    reel.finish(61_000);
    expect(texts(reel.seek(0)!.due)).toBe("0");
    expect(texts(reel.advance(499))).toBe("");
    expect(texts(reel.advance(1))).toBe("500");
    expect(texts(reel.advance(999))).toBe("");
    expect(reel.position).toBeCloseTo(60_440, 0);
    expect(texts(reel.advance(1))).toBe("60500");
    expect(reel.done).toBe(false);
    expect(texts(reel.advance(1e6))).toBe("60600");
    expect([reel.done, reel.position]).toEqual([true, 61_000]);
  });

  it("waits for what is not read, and goes on from there", () => {
    const reel = new Reel(0, null);
    expect(reel.starved).toBe(true);
    reel.add([output(100)], 100);
    expect(texts(reel.advance(5000))).toBe("100");
    expect([reel.position, reel.starved, reel.done]).toEqual([100, true, false]);
    reel.add([output(150), output(300)], 300);
    expect([reel.starved, reel.ahead]).toEqual([false, { milliseconds: 200, characters: 6 }]);
    expect(texts(reel.advance(60))).toBe("150");
  });

  it("goes where it was read, forward without anew, back from its beginning", () => {
    const reel = new Reel(1000, 2000);
    reel.add([output(1100), output(2000), output(90_000), output(91_000)], 91_000);
    expect(reel.seek(2500)).toEqual({ again: false, due: [output(1100), output(2000)] });
    expect(reel.position).toBe(2500);
    expect(reel.seek(1999)).toEqual({ again: true, due: [output(1100)] });
    expect([reel.seek(91_001), reel.seek(999), reel.position]).toEqual([null, null, 1999]);
    expect(texts(reel.advance(1))).toBe("2000");
    // From the midst of a gap what is left of it is what counts.
    reel.seek(89_500);
    expect(reel.ahead.milliseconds).toBe(1500);
  });

  it("takes another cap from where it is", () => {
    const reel = new Reel(0, null);
    reel.add([output(100_000), output(200_000)], 200_000);
    reel.advance(50_000);
    reel.shorten(1000);
    expect([reel.position, reel.ahead.milliseconds]).toEqual([50_000, 2000]);
    expect(texts(reel.advance(2000))).toBe("100000 200000");
    const odd = new Reel(0, 1000);
    odd.add([output(100_001)], 100_001);
    odd.advance(333.3);
    odd.shorten(2000);
    expect(texts(odd.advance(2000))).toBe("100001");
  });

  it("lets go of what was shown long ago, and then says that it cannot go back", () => {
    const reel = new Reel(0, null);
    const much = "x".repeat(1_000_000);
    for (let at = 1; at <= 4; at++) reel.add([output(at * 1000, much)], at * 1000);
    reel.advance(2000);
    expect(reel.seek(500)?.due).toEqual([]);
    expect(reel.seek(3000)?.due).toHaveLength(3);
    expect([reel.seek(500), reel.seek(3500)?.due, reel.ahead.characters]).toEqual([null, [], 1_000_000]);
  });
});
