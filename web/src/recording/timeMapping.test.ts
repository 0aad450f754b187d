import { describe, expect, it } from "vitest";
import { TimeMapping } from "./timeMapping";

describe("a time mapping", () => {
  it("shortens only gaps that are longer than the maximum", () => {
    const mapping = new TimeMapping(1000, 2000);
    for (const at of [1500, 3000, 603_000, 603_500, 605_500]) mapping.add(at);
    expect(mapping.end).toEqual({ recorded: 605_500, played: 2000 + 2000 + 2500 });
    for (const [recorded, played] of [[1000, 0], [1500, 500], [3000, 2000], [303_000, 3000], [603_000, 4000], [604_500, 5500]] as const) {
      expect(mapping.toPlayed(recorded)).toBeCloseTo(played, 6);
      expect(mapping.toRecorded(played)).toBeCloseTo(recorded, 6);
    }
    expect([mapping.toRecorded(-5), mapping.toRecorded(1e9), mapping.toPlayed(0), mapping.toPlayed(1e9)]).toEqual([1000, 605_500, 0, 6500]);
  });

  it("keeps recorded time without a maximum, and before any event", () => {
    const mapping = new TimeMapping(0, null);
    expect(mapping.toRecorded(500)).toBe(0);
    mapping.add(3_600_000);
    expect([mapping.toRecorded(1_800_000), mapping.end.played]).toEqual([1_800_000, 3_600_000]);
    mapping.add(3_600_000);
    mapping.add(10);
    expect(mapping.end.recorded).toBe(3_600_000);
  });

  it("is consistent in both directions, wherever the gaps are", () => {
    let seed = 7;
    const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
    const mapping = new TimeMapping(0, 1000);
    const times = [0];
    for (let count = 0; count < 500; count++) times.push(times[count]! + Math.round(random() < 0.1 ? random() * 1e6 : random() * 1500));
    let played = 0;
    times.slice(1).forEach((at, place) => {
      mapping.add(at);
      played += Math.min(1000, at - times[place]!);
    });
    expect(mapping.end.played).toBeCloseTo(played, 3);
    for (const at of times) expect(mapping.toRecorded(mapping.toPlayed(at))).toBeCloseTo(at, 3);
    for (let at = 0; at < played; at += 777) expect(mapping.toPlayed(mapping.toRecorded(at))).toBeCloseTo(at, 3);
  });
});
