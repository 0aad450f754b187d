// Names of files as text. To a server they are any bytes; most are UTF-8.

const encoder = new TextEncoder();
// A byte order mark is a part of a name as any other.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What bytes stand for that are no UTF-8: a lone half of a surrogate pair, which UTF-8 never is (as in Python's PEP 383). */
const ESCAPE = 0xdc00;

/** Bytes as text, from which `encoded` makes the same bytes again. */
export function decoded(bytes: Uint8Array): string {
  const whole = valid(bytes);
  if (whole !== null) return whole;
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const length = lengthOf(bytes[at]!);
    const character = valid(bytes.subarray(at, at + length));
    text += character ?? String.fromCharCode(ESCAPE + bytes[at]!);
    at += character === null ? 1 : length;
  }
  return text;
}

export function encoded(text: string): Uint8Array<ArrayBuffer> {
  if (!/[\udc80-\udcff]/.test(text)) return encoder.encode(text);
  const bytes: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff) bytes.push(code - ESCAPE);
    else bytes.push(...encoder.encode(character));
  }
  return Uint8Array.from(bytes);
}

function valid(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** How many bytes a character has, as its first one says. */
function lengthOf(first: number): number {
  if (first < 0xc0) return 1;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}
