import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { formatBytes, formatCoarseDuration, formatDelay, formatDuration } from "../format";
import { createTranslate } from "./index";
import { REASONS } from "./reasons";

it("has a text in both languages for every end reason", () => {
  const source = readFileSync(new URL("../../../src/api/phase.rs", import.meta.url), "utf8");
  const body = /pub enum Reason \{([^}]*)\}/.exec(source)?.[1] ?? "";
  const reasons = [...body.matchAll(/^ {4}(\w+),$/gm)].map((match) => match[1]).sort();
  expect(reasons.length).toBeGreaterThan(10);
  for (const language of ["en", "zh"] as const) expect(Object.keys(REASONS[language]).sort()).toEqual(reasons);
});

it("fills values into messages", () => {
  expect(createTranslate("en")("rows", 1, 50, 300)).toBe("1–50 of 300");
  expect(createTranslate("zh").reason("UserExit")).toBe("用户正常退出");
  expect(createTranslate("en").reason("Newer")).toBe("Newer");
  expect(createTranslate("en").reason(null)).toBe("Ended unseen");
});

it("writes durations and sizes", () => {
  expect([formatDuration(0), formatDuration(61_000), formatDuration(3_600_000), formatDuration(90_061_000), formatDuration(-5)]).toEqual(["0:00:00", "0:01:01", "1:00:00", "1d 01:01:01", "0:00:00"]);
  expect([formatCoarseDuration(0), formatCoarseDuration(59), formatCoarseDuration(60), formatCoarseDuration(3599), formatCoarseDuration(3600), formatCoarseDuration(90_000)]).toEqual(["0 s", "59 s", "1 min", "59 min", "1 h", "25 h"]);
  expect([formatCoarseDuration(5, "zh"), formatCoarseDuration(60, "zh"), formatCoarseDuration(7200, "zh")]).toEqual(["5 秒", "1 分钟", "2 小时"]);
  expect([formatDelay(12.4), formatDelay(1500)]).toEqual(["12 ms", "1.5 s"]);
  expect([null, 0, 1023, 1024, 1536, 5 * 2 ** 30].map((count) => formatBytes(count))).toEqual(["–", "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
  expect(formatBytes(null, "")).toBe("");
});
