import { describe, expect, it } from "vitest";
import { ACK_BYTES, AckCounter, FILES_WINDOW, INPUT_WINDOW, MAX_FRAME_BYTES, SendQueue } from "./flowControl";

describe("a send queue", () => {
  const frames = (queue: SendQueue): Uint8Array[] => {
    const all: Uint8Array[] = [];
    for (let frame = queue.next(); frame; frame = queue.next()) all.push(frame);
    return all;
  };
  const size = (frames: Uint8Array[]): number => frames.reduce((sum, { length }) => sum + length, 0);

  it("sends bounded frames in order, within the window", () => {
    const queue = new SendQueue();
    const pasted = Uint8Array.from({ length: 3 * INPUT_WINDOW + 5 }, (_, index) => index % 251);
    queue.push(pasted);
    const sent: Uint8Array[] = [];
    for (let more = frames(queue); more.length > 0; more = frames(queue)) {
      expect(size(more)).toBeLessThanOrEqual(INPUT_WINDOW);
      expect(Math.max(...more.map(({ length }) => length))).toBeLessThanOrEqual(MAX_FRAME_BYTES);
      sent.push(...more);
      queue.acknowledge(size(more));
    }
    expect(Buffer.concat(sent).equals(Buffer.from(pasted))).toBe(true);
  });

  it("goes on with whatever room the window has", () => {
    const queue = new SendQueue();
    queue.push(new Uint8Array(INPUT_WINDOW + 10));
    frames(queue);
    queue.acknowledge(3);
    expect(size(frames(queue))).toBe(3);
    expect(queue.next()).toBeNull();
  });

  it("has a larger window than the gateway withholds in acknowledgements", () => {
    // the gateway's inbox: GRANT.
    for (const window of [INPUT_WINDOW, FILES_WINDOW]) expect(window - MAX_FRAME_BYTES).toBeGreaterThanOrEqual((2 * 1024 * 1024) / 8);
  });

  it("does not count input from before the session", () => {
    const queue = new SendQueue();
    queue.push(new Uint8Array(INPUT_WINDOW));
    frames(queue);
    queue.resetInFlight();
    queue.acknowledge(INPUT_WINDOW);
    queue.push(new Uint8Array(2 * INPUT_WINDOW));
    expect(size(frames(queue))).toBe(INPUT_WINDOW);
  });

  it("sends no empty frame", () => {
    const queue = new SendQueue();
    queue.push(new Uint8Array());
    expect(queue.next()).toBeNull();
  });
});

it("acknowledges in steps, and the rest when flushed", () => {
  const acks = new AckCounter();
  expect(acks.add(ACK_BYTES - 1)).toBe(0);
  expect(acks.add(2)).toBe(ACK_BYTES + 1);
  expect(acks.add(7)).toBe(0);
  expect(acks.flush()).toBe(7);
  expect(acks.flush()).toBe(0);
});
