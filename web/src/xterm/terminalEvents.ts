// Events of a terminal, and the screen that shows them.

export interface Size {
  columns: number;
  rows: number;
}

/** Output, a new size, or in a recording a marker or the exit status. */
export type TerminalEvent = { kind: "output" | "marker" | "exit"; text: string } | ({ kind: "size" } & Size);

/** The control character CAN, which cancels an incomplete escape sequence. */
export const CAN = "\x18";

export interface OutputScreen {
  show(events: readonly TerminalEvent[]): void;
  /** Characters that are not drawn yet. */
  readonly pendingCharacters: number;
}

/** Columns and rows beyond this are not plausible, and would block the browser. */
const MAX_TERMINAL_SIDE = 1000;

/** Limits a size to what can be drawn. A terminal without a size, such as that of a program, gets 80 by 24. */
export function drawableSize({ columns, rows }: Size): Size {
  const clamp = (value: number, fallback: number): number => (value < 1 ? fallback : Math.min(MAX_TERMINAL_SIDE, value));
  return { columns: clamp(columns, 80), rows: clamp(rows, 24) };
}
