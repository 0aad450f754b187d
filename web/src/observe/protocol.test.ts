import { expect, it } from "vitest";
import { observePath, parseOutput } from "./protocol";

const frame = (...bytes: number[]): ArrayBuffer => new Uint8Array(bytes).buffer;

it("splits a frame into a terminal's number and its output", () => {
  expect(parseOutput(frame(0, 0, 1, 2, 104, 105))).toEqual({ number: 258, bytes: new Uint8Array([104, 105]) });
  expect(parseOutput(frame(0xff, 0, 0, 0))).toEqual({ number: 0xff000000, bytes: new Uint8Array() });
  expect(parseOutput(frame(0, 0, 1))).toBeNull();
});

it("encodes the session's name in the path", () => {
  expect(observePath("a/b?c")).toBe("/api/v1/sessions/a%2Fb%3Fc/follow");
});
