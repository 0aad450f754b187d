import { expect, it } from "vitest";
import { encodePacket, MalformedPacketError, MAX_PACKET_BYTES, PacketDecoder, PacketReader, Type } from "./packets";

it("reads what it writes", () => {
  const bytes = encodePacket(Type.open, 7, "n\u00e4me", 2n ** 40n, Uint8Array.of(1, 2));
  const packets = new PacketDecoder();
  packets.add(bytes);
  const reader = new PacketReader(packets.next()!);
  expect([reader.readUint8(), reader.readUint32(), reader.readText(), reader.readUint64()]).toEqual([Type.open, 7, "n\u00e4me", 2 ** 40]);
  expect([...reader.readBytes()]).toEqual([1, 2]);
  expect(() => reader.readUint8()).toThrow(MalformedPacketError);
});

it("decodes packets regardless of chunk boundaries", () => {
  const all = [encodePacket(1, 3), encodePacket(103, 1, new Uint8Array(1000)), encodePacket(101, 2, 0, "", "")];
  const stream = Buffer.concat(all);
  for (const step of [1, 3, 7, 500, stream.length]) {
    const packets = new PacketDecoder();
    const found: number[][] = [];
    for (let at = 0; at < stream.length; at += step) {
      packets.add(new Uint8Array(stream.subarray(at, at + step)));
      for (let next = packets.next(); next; next = packets.next()) found.push([...next]);
    }
    expect(found).toEqual(all.map((one) => [...one.subarray(4)]));
  }
});

it("rejects packets that are too long or empty", () => {
  for (const length of [0, MAX_PACKET_BYTES + 1, 0xffff_ffff]) {
    const packets = new PacketDecoder();
    packets.add(encodePacket(1, length).subarray(5));
    expect(() => packets.next()).toThrow(MalformedPacketError);
  }
});

it("reads attributes, and skips the others", () => {
  const reader = (...fields: Parameters<typeof encodePacket>[1][]): PacketReader => new PacketReader(encodePacket(1, ...fields).subarray(5));
  expect(reader(0).readAttributes()).toEqual({ size: null, mode: null, modified: null });
  const all = reader(0x8000_000f, 5n, 0, 0, 0o100644, 1, 1_700_000_000, 1, "a@b", "c", 9);
  expect(all.readAttributes()).toEqual({ size: 5, mode: 0o100644, modified: 1_700_000_000 });
  expect(all.readUint32()).toBe(9);
});
