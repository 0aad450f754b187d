/** Whether each word of a search is contained in one of the fields, ignoring case. */
export function containsWords(fields: readonly (string | null)[], text: string): boolean {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  // The line breaks keep a word from matching across two fields.
  const searchable = fields.join("\n").toLowerCase();
  return words.every((word) => searchable.includes(word));
}
