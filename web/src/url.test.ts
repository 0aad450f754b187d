import { expect, it, vi } from "vitest";

it("takes a path apart, whatever somebody wrote into it", async () => {
  vi.stubGlobal("window", new EventTarget());
  vi.stubGlobal("location", { pathname: "/" });
  const { segments } = await import("./url");
  expect(segments("/sessions/s%2Fa")).toEqual(["", "sessions", "s/a"]);
  expect(segments("/sessions/%E0")).toEqual(["", "sessions", "%E0"]);
  vi.unstubAllGlobals();
});
