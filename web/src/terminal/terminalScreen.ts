// The screen of a web terminal, drawn by xterm.js.

import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import { createXterm } from "../xterm/createXterm";
import { openLink } from "../xterm/links";
import { onThemeChange, searchColours, terminalTheme } from "../xterm/theme";
import { stripControlCharacters } from "./controlCharacters";

interface ScreenListener {
  onInput(bytes: Uint8Array<ArrayBuffer>): void;
  onResize(cols: number, rows: number): void;
  /** Returns whether to pass the key to the shell. */
  onKey(event: KeyboardEvent): boolean;
}

export interface SearchMatches {
  /** The index of the current match; -1 if there are too many to count. */
  index: number;
  count: number;
}

/** The SGR parameters of the page's own lines. Quiet lines are grey, because xterm.js does not keep dim text readable. */
const LINE_STYLES = { quiet: "0;90", loud: "0;1" };
/** A resize waits until the window's size is stable. */
const RESIZE_DELAY_MS = 100;
/**
 * Resets the modes that a program may have left on: CAN cancels an incomplete sequence; then mouse and focus reports,
 * bracketed paste and application keys are turned off; then comes a soft reset (DECSTR).
 */
const RESET_MODES = "\x18\x1b[?1000;1002;1003;1004;1005;1006;2004l\x1b[?1l\x1b>\x1b[!p\x1b[?25h\x1b[0m";

const BRACKETED_PASTE_END = "\x1b[201~";

export class TerminalScreen {
  private readonly terminal: Terminal;
  private readonly fit = new FitAddon();
  private readonly search = new SearchAddon();
  private readonly encoder = new TextEncoder();
  private readonly cleanups: (() => void)[] = [];
  private resizeTimer = 0;
  private isSearching = false;

  constructor(
    private readonly host: HTMLElement,
    listener: ScreenListener,
    label: string,
  ) {
    Terminal.strings.promptLabel = label;
    this.terminal = createXterm(this.host);
    this.terminal.onData((text) => listener.onInput(this.encoder.encode(text)));
    // The older mouse reports are not UTF-8.
    this.terminal.onBinary((text) => listener.onInput(Uint8Array.from(text, (byte) => byte.charCodeAt(0))));
    this.terminal.onResize(({ cols, rows }) => listener.onResize(cols, rows));
    this.terminal.attachCustomKeyEventHandler((event) => listener.onKey(event));
    this.terminal.loadAddon(this.fit);
    this.terminal.loadAddon(this.search);
    this.terminal.loadAddon(new WebLinksAddon((_, link) => openLink(link)));
    this.fit.fit();
    this.cleanups.push(onThemeChange(() => this.applyTheme(this.isSearching)), this.watchSize(), this.watchPaste());
    this.terminal.focus();
  }

  get size(): { cols: number; rows: number } {
    return { cols: this.terminal.cols, rows: this.terminal.rows };
  }

  get selection(): string {
    return this.terminal.getSelection();
  }

  /** Writes bytes, and calls `shown` once they are processed. */
  write(bytes: Uint8Array, shown: () => void): void {
    this.terminal.write(bytes, shown);
  }

  /** Writes lines of text from the page, without control characters. */
  writeLines(style: keyof typeof LINE_STYLES, ...texts: string[]): void {
    for (const text of texts) this.terminal.write(`\r\n\x1b[${LINE_STYLES[style]}m${stripControlCharacters(text)}\x1b[0m`);
    this.terminal.write("\r\n");
  }

  /** Resets the terminal's modes after all pending output, and then calls `onDone`. The text stays. */
  resetModes(onDone: () => void): void {
    this.terminal.write("", () => {
      // On the normal screen this sequence would move the cursor to its last saved position.
      const leaveAlternate = this.terminal.buffer.active.type === "alternate" ? "\x1b[?1049l" : "";
      this.terminal.write(this.encoder.encode(RESET_MODES + leaveAlternate));
      onDone();
    });
  }

  /** Copies the selection to the clipboard. */
  copy(): void {
    const text = this.selection;
    if (!text) return;
    // Without HTTPS there is no clipboard API; `execCommand` makes the browser ask xterm.js for the selection.
    if (navigator.clipboard) void navigator.clipboard.writeText(text).catch(() => undefined);
    else document.execCommand("copy");
    this.terminal.clearSelection();
  }

  /** Searches; `isTyping` keeps the current match while the text grows. */
  find(text: string, direction: "next" | "previous", isTyping = false): void {
    const { match, active } = searchColours(this.host);
    const decorations = { matchBackground: match, matchOverviewRuler: match, activeMatchBackground: active, activeMatchColorOverviewRuler: active };
    if (!this.isSearching) this.applyTheme(true);
    if (direction === "next") this.search.findNext(text, { decorations, incremental: isTyping });
    else this.search.findPrevious(text, { decorations });
  }

  onSearchMatches(listener: (matches: SearchMatches) => void): () => void {
    const subscription = this.search.onDidChangeResults(({ resultIndex, resultCount }) => listener({ index: resultIndex, count: resultCount }));
    return () => subscription.dispose();
  }

  clearSearch(): void {
    this.applyTheme(false);
    this.search.clearDecorations();
    this.terminal.clearSelection();
  }

  focus(): void {
    this.terminal.focus();
  }

  /** Whether the text is exposed to screen readers. */
  set screenReaderMode(on: boolean) {
    this.terminal.options.screenReaderMode = on;
  }

  close(): void {
    window.clearTimeout(this.resizeTimer);
    for (const cleanUp of this.cleanups) cleanUp();
    this.terminal.dispose();
  }

  /** Applies the page's colours. The current match is a selection, so a selection has the colour of a match during a search. */
  private applyTheme(isSearching: boolean): void {
    this.isSearching = isSearching;
    const colours = terminalTheme(this.host);
    if (isSearching) colours.selectionInactiveBackground = searchColours(this.host).active;
    this.terminal.options.theme = colours;
  }

  private watchSize(): () => void {
    const observer = new ResizeObserver(() => {
      window.clearTimeout(this.resizeTimer);
      this.resizeTimer = window.setTimeout(() => this.fit.fit(), RESIZE_DELAY_MS);
    });
    observer.observe(this.host);
    return () => observer.disconnect();
  }

  /** Removes escape characters from pasted text with an end of a bracketed paste. Otherwise the shell would run the rest. */
  private watchPaste(): () => void {
    const paste = (event: ClipboardEvent): void => {
      const text = event.clipboardData?.getData("text/plain") ?? "";
      if (!text.includes(BRACKETED_PASTE_END)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      this.terminal.paste(text.replaceAll("\x1b", ""));
    };
    this.host.addEventListener("paste", paste, true);
    return () => this.host.removeEventListener("paste", paste, true);
  }
}
