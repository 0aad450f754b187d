/** Whether the fields together contain each word of a search, in any case. */
export function containsWords(fields: readonly (string | null)[], text: string): boolean {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  // The line breaks keep a word from matching across two fields.
  const searchable = fields.join("\n").toLowerCase();
  return words.every((word) => searchable.includes(word));
}
