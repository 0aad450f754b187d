// The screen that a terminal of somebody else's is shown on: as large as it is there, in a font with which it fits.

import type { Terminal } from "@xterm/xterm";
import { theme, whenColoursChange } from "../terminal/theme";
import { openXterm } from "../terminal/xterm";
import { bounded, type Change, type Size } from "./pieces";
import type { Stage } from "./player";
import "./stage.css";

type Step = { kind: "output"; text: string } | ({ kind: "size" | "reset" } & Size);

/** In which sizes the font is still, or already, read. What fits in none of them can be scrolled. */
const [SMALLEST, LARGEST, FINE] = [6, 20, 0.5];
/**
 * Another size costs the browser as much time as so many characters. Of those that are shown at once only the last few count:
 * with thousands of them a recording could not be looked at, and what they were for has been drawn again since.
 */
const [COST, MOST_SIZES] = [20_000, 50];
/** Ends an escape sequence that was cut off. */
const CANCEL = "\x18";

export class XtermStage implements Stage {
  private readonly terminal: Terminal;
  private readonly undo: (() => void)[] = [];
  private steps: Step[] = [];
  private drawing: Step | null = null;
  /** Whether its size is another than the font was chosen for. */
  private unfit = false;
  private closed = false;

  constructor(private readonly host: HTMLElement, label: string) {
    this.terminal = openXterm(host, { disableStdin: true, cursorInactiveStyle: "outline" });
    // The keys are the page's.
    this.terminal.attachCustomKeyEventHandler(() => false);
    this.terminal.textarea?.setAttribute("aria-label", label);
    const observer = new ResizeObserver(() => this.fit());
    observer.observe(host.parentElement ?? host);
    this.undo.push(() => observer.disconnect(), whenColoursChange(() => { this.terminal.options.theme = theme(host); }));
  }

  get owed(): number {
    const cost = (step: Step): number => (step.kind === "output" ? step.text.length : COST);
    return this.steps.reduce((sum, step) => sum + cost(step), this.drawing ? cost(this.drawing) : 0);
  }

  reset(size: Size): void {
    this.steps = [{ kind: "output", text: CANCEL }, { kind: "reset", ...bounded(size) }];
    this.draw();
  }

  show(changes: readonly Change[]): void {
    let text = "";
    let sizes = changes.filter((it) => it.kind === "size").length;
    const flush = (): void => {
      if (text) this.steps.push({ kind: "output", text });
      text = "";
    };
    for (const change of changes) {
      if (change.kind === "output") text += change.text;
      if (change.kind !== "size" || sizes-- > MOST_SIZES) continue;
      flush();
      // Of sizes with nothing between them the last one counts: each costs time.
      if (this.steps.at(-1)?.kind === "size") this.steps.pop();
      this.steps.push(change);
    }
    flush();
    this.draw();
  }

  /** Whether what is shown is there for screen readers too. */
  set readable(on: boolean) {
    this.terminal.options.screenReaderMode = on;
  }

  close(): void {
    this.closed = true;
    for (const undo of this.undo) undo();
    this.terminal.dispose();
  }

  /** One step after the other: a size belongs between the outputs that it is between. */
  private draw(): void {
    while (!this.drawing && !this.closed) {
      const step = this.steps.shift();
      if (!step) return this.unfit ? this.fit() : undefined;
      if (step.kind === "output") this.write(step);
      else this.change(step);
    }
  }

  private write(step: Extract<Step, { kind: "output" }>): void {
    this.drawing = step;
    this.terminal.write(step.text, () => {
      this.drawing = null;
      // xterm.js is still in the midst of its own work.
      queueMicrotask(() => this.draw());
    });
  }

  private change({ kind, columns, rows }: Exclude<Step, { kind: "output" }>): void {
    if (kind === "reset") this.terminal.reset();
    this.terminal.resize(columns, rows);
    this.unfit = true;
  }

  /** Has the font be as large as its place allows. */
  private fit(): void {
    const place = this.host.parentElement;
    const screen = this.host.querySelector<HTMLElement>(".xterm-screen");
    if (this.closed || !place || !screen || screen.offsetWidth === 0) return;
    this.unfit = false;
    const room = { width: place.clientWidth - this.margin(), height: place.clientHeight };
    const { fontSize = 14 } = this.terminal.options;
    const scale = Math.min(room.width / screen.offsetWidth, room.height / screen.offsetHeight);
    let size = clamp(Math.floor((fontSize * scale) / FINE) * FINE);
    this.terminal.options.fontSize = size;
    // Cells are whole pixels high, so that it may be a little too large.
    for (; size > SMALLEST && (screen.offsetWidth > room.width || screen.offsetHeight > room.height); size = clamp(size - FINE)) {
      this.terminal.options.fontSize = clamp(size - FINE);
    }
    this.host.style.width = `${screen.offsetWidth + this.margin()}px`;
    this.host.style.height = `${screen.offsetHeight}px`;
  }

  /** xterm.js has its scroll bar beside the text. */
  private margin(): number {
    return 14;
  }
}

const clamp = (size: number): number => Math.min(LARGEST, Math.max(SMALLEST, size));
