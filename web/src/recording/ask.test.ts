import { afterEach, expect, it, vi } from "vitest";
import { onUnauthorized } from "../api/client";
import { matches, recordings, text } from "./ask";

afterEach(() => {
  vi.unstubAllGlobals();
  onUnauthorized(() => {});
});

it("tells of every 401, whatever is asked of recordings", async () => {
  const told = vi.fn();
  onUnauthorized(told);
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify({ error: "no" }), { status: 401 }));
  const { signal } = new AbortController();
  const questions = [() => recordings("s-1"), () => text("s-1", 1, { from: 0, to: 1 }, signal), () => matches("s-1", 1, "word")];
  for (const question of questions) await expect(question()).rejects.toMatchObject({ status: 401 });
  expect(told).toHaveBeenCalledTimes(questions.length);
});
