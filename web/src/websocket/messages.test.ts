import { expect, it } from "vitest";
import { parseMessage, toWebSocketUrl } from "./messages";

it("parses objects with a type, and nothing else", () => {
  expect(parseMessage('{"type":"ack","channel":"shell","bytes":5}')).toEqual({ type: "ack", channel: "shell", bytes: 5 });
  expect(parseMessage('{"type":"terminal","number":3,"cols":80,"rows":24}')).toEqual({ type: "terminal", number: 3, cols: 80, rows: 24 });
  for (const text of ["", "x", "null", "3", "{}"]) expect(parseMessage(text)).toBeNull();
});

it("turns the scheme of a URL into that of a WebSocket", () => {
  expect(toWebSocketUrl("https://b/terminal/v1/connect?target=a")).toMatch(/^wss:\/\/b\//);
  expect(toWebSocketUrl("http://b/http")).toBe("ws://b/http");
});
