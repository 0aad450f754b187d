import { expect, it } from "vitest";
import { decodeFileName, encodeFileName } from "./fileNames";

it("restores any bytes", () => {
  const all = [
    [],
    [0x61, 0x20],
    [0xef, 0xbb, 0xbf, 0x61],
    [...new TextEncoder().encode("caf\u00e9 \u6587 \u{1f600}")],
    [0x63, 0xe9],
    [0xe9, 0xe6, 0x96, 0x87],
    // An incomplete character, invalid bytes, and encoded surrogates.
    [0xf0, 0x9f, 0x98],
    [0xc0, 0xaf, 0xff, 0x80],
    [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
    [0xf0, 0x9f, 0x98, 0x80, 0x80],
    Array.from({ length: 256 }, (_, byte) => byte),
  ];
  for (const bytes of all) expect([...encodeFileName(decodeFileName(Uint8Array.from(bytes)))]).toEqual(bytes);
});

it("decodes UTF-8 next to bytes that are not", () => {
  expect(decodeFileName(Uint8Array.of(0x63, 0xe9, 0xe6, 0x96, 0x87))).toBe("c\udce9\u6587");
});
