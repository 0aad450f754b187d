// A screen that shows another person's terminal in its original size, with a font that makes it fit.

import type { Terminal } from "@xterm/xterm";
import { createXterm } from "./createXterm";
import "./scaledScreen.css";
import { CAN, drawableSize, type OutputScreen, type Size, type TerminalEvent } from "./terminalEvents";
import { onThemeChange, terminalTheme } from "./theme";

type DrawStep = { kind: "output"; text: string } | ({ kind: "size" | "reset" } & Size);

/** The range of font sizes, in pixels. A terminal that does not fit even with the smallest size can be scrolled. */
const MIN_FONT_SIZE = 6;
const MAX_FONT_SIZE = 20;
const FONT_SIZE_STEP = 0.5;
/** The cost of a resize, in characters that the browser could draw in the same time. */
const RESIZE_COST = 20_000;
/** The most resizes in one batch that are applied: the last ones. Programs redraw the screen after each resize. */
const MAX_RESIZES = 50;
/** The width of xterm.js's scroll bar, in pixels. */
const SCROLLBAR_WIDTH = 14;

export class ScaledScreen implements OutputScreen {
  private readonly terminal: Terminal;
  private readonly cleanups: (() => void)[] = [];
  private queue: DrawStep[] = [];
  private drawing: DrawStep | null = null;
  /** Whether the size has changed since the font size was chosen. */
  private needsFit = false;
  private closed = false;

  constructor(private readonly host: HTMLElement, label: string) {
    this.terminal = createXterm(host, { disableStdin: true, cursorInactiveStyle: "outline" });
    // Leave all keys to the page.
    this.terminal.attachCustomKeyEventHandler(() => false);
    this.terminal.textarea?.setAttribute("aria-label", label);
    const observer = new ResizeObserver(() => this.fitFont());
    observer.observe(host.parentElement ?? host);
    this.cleanups.push(() => observer.disconnect(), onThemeChange(() => { this.terminal.options.theme = terminalTheme(host); }));
  }

  get pendingCharacters(): number {
    const cost = (step: DrawStep): number => (step.kind === "output" ? step.text.length : RESIZE_COST);
    return this.queue.reduce((sum, step) => sum + cost(step), this.drawing ? cost(this.drawing) : 0);
  }

  reset(size: Size): void {
    this.queue = [{ kind: "output", text: CAN }, { kind: "reset", ...drawableSize(size) }];
    this.drawNext();
  }

  show(events: readonly TerminalEvent[]): void {
    let text = "";
    let sizes = events.filter((it) => it.kind === "size").length;
    const flush = (): void => {
      if (text) this.queue.push({ kind: "output", text });
      text = "";
    };
    for (const event of events) {
      if (event.kind === "output") text += event.text;
      if (event.kind !== "size" || sizes-- > MAX_RESIZES) continue;
      flush();
      // Of consecutive resizes only the last counts.
      if (this.queue.at(-1)?.kind === "size") this.queue.pop();
      this.queue.push(event);
    }
    flush();
    this.drawNext();
  }

  /** Whether the text is exposed to screen readers. */
  set screenReaderMode(on: boolean) {
    this.terminal.options.screenReaderMode = on;
  }

  close(): void {
    this.closed = true;
    for (const cleanUp of this.cleanups) cleanUp();
    this.terminal.dispose();
  }

  /** Runs the steps one after the other, so that a resize takes effect between the right outputs. */
  private drawNext(): void {
    while (!this.drawing && !this.closed) {
      const step = this.queue.shift();
      if (!step) return this.needsFit ? this.fitFont() : undefined;
      if (step.kind === "output") this.write(step);
      else this.resize(step);
    }
  }

  private write(step: Extract<DrawStep, { kind: "output" }>): void {
    this.drawing = step;
    this.terminal.write(step.text, () => {
      this.drawing = null;
      // xterm.js calls back in the middle of its own write loop.
      queueMicrotask(() => this.drawNext());
    });
  }

  private resize({ kind, columns, rows }: Exclude<DrawStep, { kind: "output" }>): void {
    if (kind === "reset") this.terminal.reset();
    this.terminal.resize(columns, rows);
    this.needsFit = true;
  }

  /** Chooses the largest font size with which the terminal fits its container. */
  private fitFont(): void {
    const container = this.host.parentElement;
    const screen = this.host.querySelector<HTMLElement>(".xterm-screen");
    if (this.closed || !container || !screen || screen.offsetWidth === 0) return;
    this.needsFit = false;
    const available = { width: container.clientWidth - SCROLLBAR_WIDTH, height: container.clientHeight };
    const { fontSize = 14 } = this.terminal.options;
    const scale = Math.min(available.width / screen.offsetWidth, available.height / screen.offsetHeight);
    let size = clamp(Math.floor((fontSize * scale) / FONT_SIZE_STEP) * FONT_SIZE_STEP);
    this.terminal.options.fontSize = size;
    // Cells have whole pixels, so the result may be slightly too large.
    for (; size > MIN_FONT_SIZE && (screen.offsetWidth > available.width || screen.offsetHeight > available.height); size = clamp(size - FONT_SIZE_STEP)) {
      this.terminal.options.fontSize = clamp(size - FONT_SIZE_STEP);
    }
    this.host.style.width = `${screen.offsetWidth + SCROLLBAR_WIDTH}px`;
    this.host.style.height = `${screen.offsetHeight}px`;
  }

}

const clamp = (size: number): number => Math.min(MAX_FONT_SIZE, Math.max(MIN_FONT_SIZE, size));
