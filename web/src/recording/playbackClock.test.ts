import { expect, it } from "vitest";
import { PlaybackClock } from "./playbackClock";

it("scales time by its speed while it runs, and limits long steps", () => {
  let now = 100;
  const clock = new PlaybackClock(() => now);
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
