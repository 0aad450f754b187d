import { expect, it } from "vitest";
import type { SessionRecording } from "../api/types";
import { makeSession } from "../fixtures";
import { isPlayable } from "./isPlayable";

it("tells which sessions have something to play", () => {
  const plan = { mode: "Required", location: "s3://b/s" };
  const of = (recording: SessionRecording | null): boolean =>
    isPlayable(makeSession("1", { recording }));
  expect(of(null)).toBe(false);
  expect(of({ mode: "Off" })).toBe(false);
  expect(of(plan)).toBe(true);
  expect(of({ ...plan, state: "Complete", bytes: 7, channels: [{ number: 1, bytes: 7 }] })).toBe(true);
  expect(of({ ...plan, state: "Complete", bytes: 0, channels: [] })).toBe(false);
  expect(of({ ...plan, state: "Failed", bytes: 0 })).toBe(false);
  expect(of({ ...plan, state: "Failed", bytes: 9 })).toBe(true);
});
