// Routes the output of terminals to their screens. It buffers output until the screen exists, and skips output while the
// browser cannot keep up.

import { CAN, drawableSize, type OutputScreen, type Size, type TerminalEvent } from "../xterm/terminalEvents";

/** While a screen has more characters to draw than this, further output is skipped, so that observers see the present. */
export const MAX_PENDING_CHARACTERS = 1_000_000;

export class TerminalRouter {
  private readonly streams = new Map<number, TerminalStream>();

  /** `onSkipped` is called with the number of a terminal whose output is being skipped. */
  constructor(private readonly onSkipped: (number: number) => void) {}

  /** Drops all terminals. */
  clear(): void {
    this.streams.clear();
  }

  resize(number: number, size: Size): void {
    this.streamOf(number).emit({ kind: "size", ...drawableSize(size) });
  }

  write(number: number, bytes: Uint8Array): void {
    const stream = this.streamOf(number);
    if (!stream.isBehind) stream.write(bytes);
    else if (stream.skip()) this.onSkipped(number);
  }

  /** Records that output is missing at this point. */
  markGap(number: number): void {
    this.streamOf(number).markGap();
  }

  /** Connects a screen to a terminal, until the returned function is called. */
  attach(number: number, screen: OutputScreen): () => void {
    const stream = this.streamOf(number);
    stream.attach(screen);
    return () => {
      // The number may belong to another terminal by now.
      if (this.streams.get(number) === stream) this.streams.delete(number);
    };
  }

  private streamOf(number: number): TerminalStream {
    const stream = this.streams.get(number) ?? new TerminalStream();
    this.streams.set(number, stream);
    return stream;
  }
}

/** The output of one terminal. */
class TerminalStream {
  private decoder = new TextDecoder();
  /** Whether the next byte may be inside a UTF-8 character. */
  private isMidCharacter = true;
  private skipping = false;
  private screen: OutputScreen | null = null;
  private pending: TerminalEvent[] = [];

  attach(screen: OutputScreen): void {
    this.screen = screen;
    screen.show(this.pending);
    this.pending = [];
  }

  emit(event: TerminalEvent): void {
    if (this.screen) this.screen.show([event]);
    else this.pending.push(event);
  }

  get isBehind(): boolean {
    return (this.screen?.pendingCharacters ?? 0) > MAX_PENDING_CHARACTERS;
  }

  write(bytes: Uint8Array): void {
    if (this.skipping) this.markGap();
    this.skipping = false;
    const chunk = this.isMidCharacter ? fromCharacterStart(bytes) : bytes;
    this.isMidCharacter &&= chunk.length === 0;
    const text = this.decoder.decode(chunk, { stream: true });
    if (text) this.emit({ kind: "output", text });
  }

  /** Skips output; returns whether the gap is new. */
  skip(): boolean {
    const isNew = !this.skipping;
    this.skipping = true;
    return isNew;
  }

  markGap(): void {
    this.decoder = new TextDecoder();
    this.isMidCharacter = true;
    this.emit({ kind: "output", text: CAN });
  }
}

/** Drops the bytes before the first start of a UTF-8 character. */
function fromCharacterStart(bytes: Uint8Array): Uint8Array {
  const start = bytes.findIndex((byte) => (byte & 0xc0) !== 0x80);
  return bytes.subarray(start < 0 ? bytes.length : start);
}
