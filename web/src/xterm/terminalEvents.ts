// Events of a terminal, and the screen that shows them.

export interface Size {
  columns: number;
  rows: number;
}

/** An event of a terminal: output or a new size; in a recording, also a marker or the exit status. */
export type TerminalEvent = { kind: "output" | "marker" | "exit"; text: string } | ({ kind: "size" } & Size);

/** The control character CAN, which cancels an incomplete escape sequence. */
export const CAN = "\x18";

export interface OutputScreen {
  show(events: readonly TerminalEvent[]): void;
  /** The number of characters that are not drawn yet. */
  readonly pendingCharacters: number;
}

/** The most columns, and the most rows. A larger size is not plausible, and would block the browser. */
const MAX_TERMINAL_SIDE = 1000;

/** Limits a size to what can be drawn. A terminal without a size, as some programs request it, gets 80 columns and 24 rows. */
export function drawableSize({ columns, rows }: Size): Size {
  const clamp = (value: number, fallback: number): number => (value < 1 ? fallback : Math.min(MAX_TERMINAL_SIDE, value));
  return { columns: clamp(columns, 80), rows: clamp(rows, 24) };
}
