import { expect, it } from "vitest";
import { decoded, encoded } from "./text";

it("makes the same bytes again of whatever bytes there are", () => {
  const all = [
    [],
    [0x61, 0x20],
    [0xef, 0xbb, 0xbf, 0x61],
    [...new TextEncoder().encode("caf\u00e9 \u6587 \u{1f600}")],
    [0x63, 0xe9],
    [0xe9, 0xe6, 0x96, 0x87],
    // The first bytes of a character, bytes that none begins with, and halves of surrogate pairs.
    [0xf0, 0x9f, 0x98],
    [0xc0, 0xaf, 0xff, 0x80],
    [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
    [0xf0, 0x9f, 0x98, 0x80, 0x80],
    Array.from({ length: 256 }, (_, byte) => byte),
  ];
  for (const bytes of all) expect([...encoded(decoded(Uint8Array.from(bytes)))]).toEqual(bytes);
});

it("reads what is UTF-8 beside what is not", () => {
  expect(decoded(Uint8Array.of(0x63, 0xe9, 0xe6, 0x96, 0x87))).toBe("c\udce9\u6587");
});
