import { describe, expect, it } from "vitest";
import { Keepalive, PONG_TIMEOUT_MS } from "./keepalive";

describe("a keepalive", () => {
  it("is lost when a ping stays unanswered", () => {
    const keepalive = new Keepalive();
    expect(keepalive.tick(0)).toBe("ping");
    expect(keepalive.tick(PONG_TIMEOUT_MS - 1)).toBe("ping");
    expect(keepalive.tick(PONG_TIMEOUT_MS)).toBe("lost");
  });

  it("stays alive in a background tab whose timers run once a minute", () => {
    const keepalive = new Keepalive();
    for (let now = 0; now < 600_000; now += 60_000) {
      expect(keepalive.tick(now)).toBe("ping");
      keepalive.received();
    }
  });
});
