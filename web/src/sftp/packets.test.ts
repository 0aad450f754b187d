import { expect, it } from "vitest";
import { LONGEST, Malformed, packet, Packets, Reader, Type } from "./packets";

it("writes what it reads", () => {
  const bytes = packet(Type.open, 7, "n\u00e4me", 2n ** 40n, Uint8Array.of(1, 2));
  const packets = new Packets();
  packets.add(bytes);
  const reader = new Reader(packets.next()!);
  expect([reader.byte(), reader.number(), reader.text(), reader.long()]).toEqual([Type.open, 7, "n\u00e4me", 2 ** 40]);
  expect([...reader.string()]).toEqual([1, 2]);
  expect(() => reader.byte()).toThrow(Malformed);
});

it("finds packets wherever they are split", () => {
  const all = [packet(1, 3), packet(103, 1, new Uint8Array(1000)), packet(101, 2, 0, "", "")];
  const stream = Buffer.concat(all);
  for (const step of [1, 3, 7, 500, stream.length]) {
    const packets = new Packets();
    const found: number[][] = [];
    for (let at = 0; at < stream.length; at += step) {
      packets.add(new Uint8Array(stream.subarray(at, at + step)));
      for (let next = packets.next(); next; next = packets.next()) found.push([...next]);
    }
    expect(found).toEqual(all.map((one) => [...one.subarray(4)]));
  }
});

it("takes no packet that is longer than any, or of nothing", () => {
  for (const length of [0, LONGEST + 1, 0xffff_ffff]) {
    const packets = new Packets();
    packets.add(packet(1, length).subarray(5));
    expect(() => packets.next()).toThrow(Malformed);
  }
});

it("reads attributes, and passes over what it does not need", () => {
  const reader = (...fields: Parameters<typeof packet>[1][]): Reader => new Reader(packet(1, ...fields).subarray(5));
  expect(reader(0).attributes()).toEqual({ size: null, mode: null, modified: null });
  const all = reader(0x8000_000f, 5n, 0, 0, 0o100644, 1, 1_700_000_000, 1, "a@b", "c", 9);
  expect(all.attributes()).toEqual({ size: 5, mode: 0o100644, modified: 1_700_000_000 });
  expect(all.number()).toBe(9);
});
