// What terminals print, on its way to their screens: each is there a moment after its first output, and is no faster than
// the browser draws.

import { bounded, type Change, type Size } from "../recording/pieces";

/** Where it is shown. */
export interface Screen {
  show(changes: readonly Change[]): void;
  /** How many characters are still to be drawn. */
  readonly owed: number;
}

/** A screen that owes more than this is given no more until it has drawn some: who follows wants to see what is now. */
export const MOST_OWED = 1_000_000;
/** Ends an escape sequence that was cut off. */
const CANCEL = "\x18";

export class Outlets {
  private readonly all = new Map<number, Outlet>();

  /** `onSkipped` is told of a terminal some of whose output is left out here. */
  constructor(private readonly onSkipped: (number: number) => void) {}

  /** Forgets all terminals. */
  clear(): void {
    this.all.clear();
  }

  size(number: number, size: Size): void {
    this.of(number).give({ kind: "size", ...bounded(size) });
  }

  output(number: number, bytes: Uint8Array): void {
    const outlet = this.of(number);
    if (!outlet.isLate) outlet.print(bytes);
    else if (outlet.skip()) this.onSkipped(number);
  }

  /** Some output of a terminal is missing here. */
  cut(number: number): void {
    this.of(number).cut();
  }

  /** Has a screen show a terminal, until the function that it returns is called. */
  attach(number: number, screen: Screen): () => void {
    const outlet = this.of(number);
    outlet.open(screen);
    return () => {
      // There may be another terminal of this number by now.
      if (this.all.get(number) === outlet) this.all.delete(number);
    };
  }

  private of(number: number): Outlet {
    const known = this.all.get(number) ?? new Outlet();
    this.all.set(number, known);
    return known;
  }
}

class Outlet {
  private decoder = new TextDecoder();
  /** Whether the next byte may be in the midst of a character. */
  private torn = true;
  private skipping = false;
  private screen: Screen | null = null;
  private waiting: Change[] = [];

  open(screen: Screen): void {
    this.screen = screen;
    screen.show(this.waiting);
    this.waiting = [];
  }

  give(change: Change): void {
    if (this.screen) this.screen.show([change]);
    else this.waiting.push(change);
  }

  get isLate(): boolean {
    return (this.screen?.owed ?? 0) > MOST_OWED;
  }

  print(bytes: Uint8Array): void {
    if (this.skipping) this.cut();
    this.skipping = false;
    const piece = this.torn ? whole(bytes) : bytes;
    this.torn &&= piece.length === 0;
    const text = this.decoder.decode(piece, { stream: true });
    if (text) this.give({ kind: "output", text });
  }

  /** Leaves output out; returns whether that is new. */
  skip(): boolean {
    const fresh = !this.skipping;
    this.skipping = true;
    return fresh;
  }

  cut(): void {
    this.decoder = new TextDecoder();
    this.torn = true;
    this.give({ kind: "output", text: CANCEL });
  }
}

/** Bytes from where a character begins in UTF-8. */
function whole(bytes: Uint8Array): Uint8Array {
  const start = bytes.findIndex((byte) => (byte & 0xc0) !== 0x80);
  return bytes.subarray(start < 0 ? bytes.length : start);
}
