import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { bytes, delayText, duration, span } from "../format";
import { speak } from "./index";
import { REASONS } from "./reasons";

it("has a sentence in both languages for every reason that a session can end for", () => {
  const source = readFileSync(new URL("../../../src/api/phase.rs", import.meta.url), "utf8");
  const body = /pub enum Reason \{([^}]*)\}/.exec(source)?.[1] ?? "";
  const reasons = [...body.matchAll(/^ {4}(\w+),$/gm)].map((match) => match[1]).sort();
  expect(reasons.length).toBeGreaterThan(10);
  for (const language of ["en", "zh"] as const) expect(Object.keys(REASONS[language]).sort()).toEqual(reasons);
});

it("puts values into words", () => {
  expect(speak("en")("rows", 1, 50, 300)).toBe("1–50 of 300");
  expect(speak("zh").reason("UserExit")).toBe("用户正常退出");
  expect(speak("en").reason("Newer")).toBe("Newer");
  expect(speak("en").reason(null)).toBe("Ended unseen");
});

it("writes durations and sizes", () => {
  expect([duration(0), duration(61_000), duration(3_600_000), duration(90_061_000), duration(-5)]).toEqual(["0:00:00", "0:01:01", "1:00:00", "1d 01:01:01", "0:00:00"]);
  expect([span(0), span(59), span(60), span(3599), span(3600), span(90_000)]).toEqual(["0 s", "59 s", "1 min", "59 min", "1 h", "25 h"]);
  expect([span(5, "zh"), span(60, "zh"), span(7200, "zh")]).toEqual(["5 秒", "1 分钟", "2 小时"]);
  expect([delayText(12.4), delayText(1500)]).toEqual(["12 ms", "1.5 s"]);
  expect([bytes(null), bytes(0), bytes(1023), bytes(1536), bytes(5 * 2 ** 30)]).toEqual(["–", "0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
});
