import { expect, it } from "vitest";
import { output, path, said } from "./wire";

const frame = (...bytes: number[]): ArrayBuffer => new Uint8Array(bytes).buffer;

it("reads a terminal's number and its output from a frame", () => {
  expect(output(frame(0, 0, 1, 2, 104, 105))).toEqual({ number: 258, bytes: new Uint8Array([104, 105]) });
  expect(output(frame(0xff, 0, 0, 0))).toEqual({ number: 0xff000000, bytes: new Uint8Array() });
  expect(output(frame(0, 0, 1))).toBeNull();
});

it("reads what is said, and nothing from what is not", () => {
  expect(said('{"type":"terminal","number":3,"cols":80,"rows":24}')).toEqual({ type: "terminal", number: 3, cols: 80, rows: 24 });
  for (const nothing of ["", "x", "null", "3", "{}"]) expect(said(nothing)).toBeNull();
});

it("writes a session's name as a part of the address", () => {
  expect(path("a/b?c")).toBe("/api/v1/sessions/a%2Fb%3Fc/follow");
});
