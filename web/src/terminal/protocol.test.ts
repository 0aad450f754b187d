import { describe, expect, it } from "vitest";
import { connectUrl, decodeFrame, encodeFrame, gatewayOrigin } from "./protocol";

describe("the URL", () => {
  it("has the page's origin, or the configured one", () => {
    expect(gatewayOrigin(null, "https://bastion.example/terminal/x")).toBe("https://bastion.example");
    expect(gatewayOrigin("http://127.0.0.1:8082/", "http://127.0.0.1:8081/")).toBe("http://127.0.0.1:8082");
  });

  it("encodes the request", () => {
    const all = connectUrl("https://b", { target: "a&b", login: "x y", cols: 80, rows: 24 });
    expect(all).toBe("https://b/terminal/v1/connect?target=a%26b&login=x+y&cols=80&rows=24");
    expect(connectUrl("https://b", { target: "a", login: null, cols: 1, rows: 2 })).toBe("https://b/terminal/v1/connect?target=a&cols=1&rows=2");
  });
});

it("encodes and decodes the channel of a frame", () => {
  const bytes = Uint8Array.of(7, 8);
  for (const channel of ["shell", "files"] as const) expect(decodeFrame(encodeFrame(channel, bytes))).toEqual([channel, bytes]);
  expect([...encodeFrame("files", bytes)]).toEqual([1, 7, 8]);
  for (const nothing of [[], [2, 7]]) expect(decodeFrame(Uint8Array.from(nothing))).toBeNull();
});
