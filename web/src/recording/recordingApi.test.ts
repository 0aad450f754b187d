import { afterEach, expect, it, vi } from "vitest";
import { onUnauthorized } from "../api/client";
import { fetchRecordings, fetchSegmentText, searchRecording } from "./recordingApi";

afterEach(() => {
  vi.unstubAllGlobals();
  onUnauthorized(() => {});
});

it("reports every 401 to the listener", async () => {
  const listener = vi.fn();
  onUnauthorized(listener);
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify({ error: "no" }), { status: 401 }));
  const { signal } = new AbortController();
  const requests = [() => fetchRecordings("s-1"), () => fetchSegmentText("s-1", 1, { from: 0, to: 1 }, signal), () => searchRecording("s-1", 1, "word")];
  for (const request of requests) await expect(request()).rejects.toMatchObject({ status: 401 });
  expect(listener).toHaveBeenCalledTimes(requests.length);
});
