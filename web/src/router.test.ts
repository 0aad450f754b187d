import { expect, it, vi } from "vitest";

it("splits a path, even one with invalid percent-encoding", async () => {
  vi.stubGlobal("window", new EventTarget());
  vi.stubGlobal("location", { pathname: "/" });
  const { pathSegments } = await import("./router");
  expect(pathSegments("/sessions/s%2Fa")).toEqual(["", "sessions", "s/a"]);
  expect(pathSegments("/sessions/%E0")).toEqual(["", "sessions", "%E0"]);
  vi.unstubAllGlobals();
});
