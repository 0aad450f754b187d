// File names as text. For a server, file names are arbitrary bytes, mostly UTF-8.

const encoder = new TextEncoder();
// Keep a byte order mark: it is part of the name.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The code unit to which a byte that is not UTF-8 is added. The sum is a lone low surrogate, which UTF-8 cannot contain. Python
 * does the same (PEP 383).
 */
const ESCAPE_BASE = 0xdc00;

/** Decodes a name. `encodeFileName` restores the same bytes. */
export function decodeFileName(bytes: Uint8Array): string {
  const text = decodeUtf8(bytes);
  if (text !== null) return text;
  let escaped = "";
  for (let at = 0; at < bytes.length; ) {
    const length = utf8Length(bytes[at]!);
    const character = decodeUtf8(bytes.subarray(at, at + length));
    escaped += character ?? String.fromCharCode(ESCAPE_BASE + bytes[at]!);
    at += character === null ? 1 : length;
  }
  return escaped;
}

export function encodeFileName(text: string): Uint8Array<ArrayBuffer> {
  if (!/[\udc80-\udcff]/.test(text)) return encoder.encode(text);
  const bytes: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (code >= ESCAPE_BASE + 0x80 && code <= ESCAPE_BASE + 0xff) bytes.push(code - ESCAPE_BASE);
    else bytes.push(...encoder.encode(character));
  }
  return Uint8Array.from(bytes);
}

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** Returns the length of a UTF-8 character from its first byte. */
function utf8Length(first: number): number {
  if (first < 0xc0) return 1;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}
