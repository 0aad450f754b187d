import { describe, expect, it } from "vitest";
import {
  ACK_EVERY, address, base, FILES_WINDOW, frame, heard, Input, INPUT_WINDOW, PIECE, printable, Pulse, Shown, SILENCE, socketAddress, unframed,
} from "./wire";

describe("the address", () => {
  it("is the page's own site, or the gateway's", () => {
    expect(base(null, "https://bastion.example/terminal/x")).toBe("https://bastion.example");
    expect(base("http://127.0.0.1:8082/", "http://127.0.0.1:8081/")).toBe("http://127.0.0.1:8082");
  });

  it("says what is wished for, whatever is in it", () => {
    const all = address("https://b", { target: "a&b", login: "x y", cols: 80, rows: 24 });
    expect(all).toBe("https://b/terminal/v1/connect?target=a%26b&login=x+y&cols=80&rows=24");
    expect(address("https://b", { target: "a", login: null, cols: 1, rows: 2 })).toBe("https://b/terminal/v1/connect?target=a&cols=1&rows=2");
    expect(socketAddress(all)).toMatch(/^wss:\/\/b\//);
    expect(socketAddress("http://b/http")).toBe("ws://b/http");
  });
});

it("hears what is said, and nothing else", () => {
  expect(heard('{"type":"ack","channel":"shell","bytes":5}')).toEqual({ type: "ack", channel: "shell", bytes: 5 });
  for (const nothing of ["", "x", "null", "3", "{}"]) expect(heard(nothing)).toBeNull();
});

it("knows of which channel a frame is", () => {
  const bytes = Uint8Array.of(7, 8);
  for (const channel of ["shell", "files"] as const) expect(unframed(frame(channel, bytes))).toEqual([channel, bytes]);
  expect([...frame("files", bytes)]).toEqual([1, 7, 8]);
  for (const nothing of [[], [2, 7]]) expect(unframed(Uint8Array.from(nothing))).toBeNull();
});

it("has nothing said to people be obeyed by a terminal", () => {
  expect(printable("bastion: \x1b]0;x\x07 by \u009b31mbob\r\n")).toBe("bastion:  ]0;x  by  31mbob");
});

describe("input", () => {
  const frames = (input: Input): Uint8Array[] => {
    const all: Uint8Array[] = [];
    for (let piece = input.next(); piece; piece = input.next()) all.push(piece);
    return all;
  };
  const size = (frames: Uint8Array[]): number => frames.reduce((sum, { length }) => sum + length, 0);

  it("goes in pieces, no more of it than there is room, and all of it in order", () => {
    const input = new Input();
    const pasted = Uint8Array.from({ length: 3 * INPUT_WINDOW + 5 }, (_, index) => index % 251);
    input.put(pasted);
    const sent: Uint8Array[] = [];
    for (let more = frames(input); more.length > 0; more = frames(input)) {
      expect(size(more)).toBeLessThanOrEqual(INPUT_WINDOW);
      expect(Math.max(...more.map(({ length }) => length))).toBeLessThanOrEqual(PIECE);
      sent.push(...more);
      input.arrived(size(more));
    }
    expect(Buffer.concat(sent).equals(Buffer.from(pasted))).toBe(true);
  });

  it("goes on with whatever little room there is", () => {
    const input = new Input();
    input.put(new Uint8Array(INPUT_WINDOW + 10));
    frames(input);
    input.arrived(3);
    expect(size(frames(input))).toBe(3);
    expect(input.next()).toBeNull();
  });

  it("has more room than the gateway holds back", () => {
    // src/gateway/inbox.rs: GRANT.
    for (const window of [INPUT_WINDOW, FILES_WINDOW]) expect(window - PIECE).toBeGreaterThanOrEqual((2 * 1024 * 1024) / 8);
  });

  it("does not count what was typed before the session", () => {
    const input = new Input();
    input.put(new Uint8Array(INPUT_WINDOW));
    frames(input);
    input.begin();
    input.arrived(INPUT_WINDOW);
    input.put(new Uint8Array(2 * INPUT_WINDOW));
    expect(size(frames(input))).toBe(INPUT_WINDOW);
  });

  it("sends no empty frame", () => {
    const input = new Input();
    input.put(new Uint8Array());
    expect(input.next()).toBeNull();
  });
});

it("tells of what was shown in steps, and of the rest when asked", () => {
  const shown = new Shown();
  expect(shown.add(ACK_EVERY - 1)).toBe(0);
  expect(shown.add(2)).toBe(ACK_EVERY + 1);
  expect(shown.add(7)).toBe(0);
  expect(shown.take()).toBe(7);
  expect(shown.take()).toBe(0);
});

describe("the pulse", () => {
  it("is lost when a question stays open", () => {
    const pulse = new Pulse();
    expect(pulse.tick(0)).toBe("ask");
    expect(pulse.tick(SILENCE - 1)).toBe("ask");
    expect(pulse.tick(SILENCE)).toBe("lost");
  });

  it("is there in a tab whose clock runs once a minute", () => {
    const pulse = new Pulse();
    for (let now = 0; now < 600_000; now += 60_000) {
      expect(pulse.tick(now)).toBe("ask");
      pulse.heard();
    }
  });
});
