// What a server that is none, or a hostile one, may send: made up from a seed, so that a failure happens again.

import { expect, it } from "vitest";
import { parseOutput } from "../observe/protocol";
import { decodeFrame } from "../terminal/protocol";
import { SftpClient } from "./client";
import { type Bytes, concatBytes, encodePacket, MalformedPacketError, PacketDecoder, PacketReader, Type } from "./packets";

const RUNS = 2000;

/** Returns whole numbers from 0 to below its argument, the same ones for each seed (mulberry32). */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Random = ReturnType<typeof seeded>;

function randomBytes(random: Random, length: number): Bytes {
  return Uint8Array.from({ length }, () => random(256));
}

/** Returns some replies with random content, of which some bytes may be changed. */
function randomReplies(random: Random): Bytes {
  const attributes = [random(16), BigInt(random(2 ** 31)), random(2 ** 31), random(2 ** 31), random(2 ** 31)];
  const replies = Array.from({ length: 1 + random(5) }, () => {
    const id = random(4);
    switch (random(6)) {
      case 0:
        return encodePacket(Type.status, id, random(9), "message", "en");
      case 1:
        return encodePacket(Type.handle, id, randomBytes(random, random(20)));
      case 2:
        return encodePacket(Type.data, id, randomBytes(random, random(300)));
      case 3:
        return encodePacket(Type.name, id, random(4), "name", "long name", ...attributes);
      case 4:
        return encodePacket(Type.attrs, id, ...attributes);
      default:
        return encodePacket(random(256), random(2 ** 31), randomBytes(random, random(20)));
    }
  });
  const stream = concatBytes(replies, replies.reduce((sum, reply) => sum + reply.length, 0));
  for (let changes = random(4); changes > 0; changes--) stream[random(stream.length)] = random(256);
  return stream;
}

/** Returns the packets in a stream that arrives in these chunks, and whether it is malformed. */
function decode(chunks: readonly Bytes[]): { packets: number[][]; malformed: boolean } {
  const decoder = new PacketDecoder();
  const packets: number[][] = [];
  try {
    for (const chunk of chunks) {
      decoder.add(chunk);
      for (let next = decoder.next(); next; next = decoder.next()) packets.push([...next]);
    }
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedPacketError);
    return { packets, malformed: true };
  }
  return { packets, malformed: false };
}

function split(random: Random, stream: Bytes): Bytes[] {
  const chunks: Bytes[] = [];
  for (let at = 0; at < stream.length; ) {
    const length = 1 + random(random(2) ? 5 : 400);
    chunks.push(stream.slice(at, at + length));
    at += length;
  }
  return chunks;
}

it("decodes the same packets however a stream is split", () => {
  for (let seed = 0; seed < RUNS; seed++) {
    const random = seeded(seed);
    const stream = random(4) ? randomReplies(random) : randomBytes(random, random(200));
    expect(decode(split(random, stream)), `seed ${seed}`).toEqual(decode([stream]));
  }
});

it("reads random fields, or says that the packet is malformed", () => {
  for (let seed = 0; seed < RUNS; seed++) {
    const random = seeded(seed);
    const reader = new PacketReader(randomBytes(random, random(60)));
    try {
      for (;;) [() => reader.readUint8(), () => reader.readUint64(), () => reader.readText(), () => reader.readAttributes()][random(4)]!();
    } catch (error) {
      expect(error, `seed ${seed}`).toBeInstanceOf(MalformedPacketError);
    }
  }
});

it("settles every request when the replies are random bytes", async () => {
  for (let seed = 0; seed < RUNS / 4; seed++) {
    const random = seeded(seed);
    const client = new SftpClient(() => {});
    const requests = [client.realpath("."), client.stat("a"), client.list("."), client.read(new Uint8Array(1), 0, 10)];
    const settled = Promise.allSettled(requests);
    client.receive(encodePacket(Type.version, 3));
    for (let replies = 0; replies < 5; replies++) {
      for (const chunk of split(random, randomReplies(random))) client.receive(chunk);
      // Requests may follow from the replies.
      await Promise.resolve();
    }
    client.disconnected("the end");
    for (const result of await settled) if (result.status === "rejected") expect(result.reason, `seed ${seed}`).toBeInstanceOf(Error);
  }
});

it("splits random frames", () => {
  for (let seed = 0; seed < RUNS; seed++) {
    const random = seeded(seed);
    const frame = randomBytes(random, random(10));
    const decoded = decodeFrame(frame);
    expect(decoded === null, `seed ${seed}`).toBe(frame.length === 0 || frame[0]! > 1);
    if (decoded) expect(decoded[1].length).toBe(frame.length - 1);
    const output = parseOutput(frame.buffer);
    expect(output === null).toBe(frame.length < 4);
    if (output) expect(output.bytes.length).toBe(frame.length - 4);
  }
});
