/** Replaces control characters, so that a terminal shows the text and interprets nothing in it. */
export function stripControlCharacters(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").trim();
}
