// The terminal as xterm.js draws it: bytes go in, and what is typed comes out.

import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import { marks, theme, whenColoursChange } from "./theme";
import { printable } from "./wire";
import { openXterm, visit } from "./xterm";

export interface User {
  typed(bytes: Uint8Array<ArrayBuffer>): void;
  resized(cols: number, rows: number): void;
  /** Whether the shell is to have the key. */
  pressed(event: KeyboardEvent): boolean;
}

export interface Found {
  /** Which match is shown; -1 where they are too many to count. */
  index: number;
  count: number;
}

/** Grey, which xterm.js keeps readable, unlike what is dim. */
const LOOKS = { quiet: "0;90", loud: "0;1" };
/** A window that is being dragged changes its size all the time. */
const SETTLED = 100;
/**
 * Leaves whatever a program had the terminal do: CAN ends a sequence that was cut off; then the mouse, reports of focus,
 * bracketed paste and application keys; then a soft reset.
 */
const LEAVE = "\x18\x1b[?1000;1002;1003;1004;1005;1006;2004l\x1b[?1l\x1b>\x1b[!p\x1b[?25h\x1b[0m";

const PASTE_END = "\x1b[201~";

export class Screen {
  private readonly terminal: Terminal;
  private readonly fit = new FitAddon();
  private readonly search = new SearchAddon();
  private readonly encoder = new TextEncoder();
  private readonly undo: (() => void)[] = [];
  private settling = 0;
  private searching = false;

  constructor(
    private readonly host: HTMLElement,
    user: User,
    label: string,
  ) {
    Terminal.strings.promptLabel = label;
    this.terminal = openXterm(this.host);
    this.terminal.onData((text) => user.typed(this.encoder.encode(text)));
    // Old reports of the mouse are bytes that are no UTF-8.
    this.terminal.onBinary((text) => user.typed(Uint8Array.from(text, (byte) => byte.charCodeAt(0))));
    this.terminal.onResize(({ cols, rows }) => user.resized(cols, rows));
    this.terminal.attachCustomKeyEventHandler((event) => user.pressed(event));
    this.terminal.loadAddon(this.fit);
    this.terminal.loadAddon(this.search);
    this.terminal.loadAddon(new WebLinksAddon((_, link) => visit(link)));
    this.fit.fit();
    this.undo.push(whenColoursChange(() => this.paint(this.searching)), this.watchSize(), this.watchPaste());
    this.terminal.focus();
  }

  get size(): { cols: number; rows: number } {
    return { cols: this.terminal.cols, rows: this.terminal.rows };
  }

  get selection(): string {
    return this.terminal.getSelection();
  }

  /** Shows bytes, and calls when they were taken in. */
  write(bytes: Uint8Array, shown: () => void): void {
    this.terminal.write(bytes, shown);
  }

  /** Shows lines of the page's own, whatever is in them. */
  lines(look: keyof typeof LOOKS, ...texts: string[]): void {
    for (const text of texts) this.terminal.write(`\r\n\x1b[${LOOKS[look]}m${printable(text)}\x1b[0m`);
    this.terminal.write("\r\n");
  }

  /** Has the terminal be as it was at first, but for what was written, once all of that is shown; then calls. */
  leave(then: () => void): void {
    this.terminal.write("", () => {
      // Where there is no other screen to leave, this would put the cursor wherever it was saved last.
      const back = this.terminal.buffer.active.type === "alternate" ? "\x1b[?1049l" : "";
      this.terminal.write(this.encoder.encode(LEAVE + back));
      then();
    });
  }

  /** Takes what is selected to the clipboard. */
  copy(): void {
    const text = this.selection;
    if (!text) return;
    // There is no such clipboard but over HTTPS; there the browser asks xterm.js itself what to copy.
    if (navigator.clipboard) void navigator.clipboard.writeText(text).catch(() => undefined);
    else document.execCommand("copy");
    this.terminal.clearSelection();
  }

  find(text: string, way: "next" | "previous", typing = false): void {
    const { match, active } = marks(this.host);
    const decorations = { matchBackground: match, matchOverviewRuler: match, activeMatchBackground: active, activeMatchColorOverviewRuler: active };
    if (!this.searching) this.paint(true);
    if (way === "next") this.search.findNext(text, { decorations, incremental: typing });
    else this.search.findPrevious(text, { decorations });
  }

  onFound(call: (found: Found) => void): () => void {
    const listening = this.search.onDidChangeResults(({ resultIndex, resultCount }) => call({ index: resultIndex, count: resultCount }));
    return () => listening.dispose();
  }

  forgetSearch(): void {
    this.paint(false);
    this.search.clearDecorations();
    this.terminal.clearSelection();
  }

  focus(): void {
    this.terminal.focus();
  }

  /** Whether what is shown is there for screen readers too. */
  set readable(on: boolean) {
    this.terminal.options.screenReaderMode = on;
  }

  close(): void {
    window.clearTimeout(this.settling);
    for (const undo of this.undo) undo();
    this.terminal.dispose();
  }

  /** Paints in the page's colours. What was found is selected, and must not look like less than the rest. */
  private paint(searching: boolean): void {
    this.searching = searching;
    const colours = theme(this.host);
    if (searching) colours.selectionInactiveBackground = marks(this.host).active;
    this.terminal.options.theme = colours;
  }

  private watchSize(): () => void {
    const observer = new ResizeObserver(() => {
      window.clearTimeout(this.settling);
      this.settling = window.setTimeout(() => this.fit.fit(), SETTLED);
    });
    observer.observe(this.host);
    return () => observer.disconnect();
  }

  /** What is pasted cannot end the paste, and have the shell take the rest for typed: it loses its escapes then. */
  private watchPaste(): () => void {
    const paste = (event: ClipboardEvent): void => {
      const text = event.clipboardData?.getData("text/plain") ?? "";
      if (!text.includes(PASTE_END)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      this.terminal.paste(text.replaceAll("\x1b", ""));
    };
    this.host.addEventListener("paste", paste, true);
    return () => this.host.removeEventListener("paste", paste, true);
  }
}
