// What the page and the gateway say to one another on a terminal's WebSocket, and how much of it may be on the way. Binary
// frames begin with their channel: the terminal, or files beside it. src/terminal/wire.rs is the other side.

export type Channel = "shell" | "files";

const CHANNELS: readonly Channel[] = ["shell", "files"];

export type FromGateway =
  | { type: "session"; files: boolean; name: string; id: string; user: string; target: string; login: string }
  | { type: "ack"; channel: Channel; bytes: number }
  | { type: "files_closed"; message: string }
  | { type: "pong" }
  | { type: "notice"; text: string }
  | { type: "end"; status: string; reason: string; message: string; exitCode?: number };

export type ToGateway =
  | { type: "resize"; cols: number; rows: number }
  | { type: "ack"; channel: Channel; bytes: number }
  | { type: "open_files" | "close_files" | "ping" };

/** Bytes of a channel, as a frame. */
export function frame(channel: Channel, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(1 + bytes.length);
  frame[0] = CHANNELS.indexOf(channel);
  frame.set(bytes, 1);
  return frame;
}

/** The channel of a frame, and its bytes; null where it is of none that the page knows. */
export function unframed(frame: Uint8Array<ArrayBuffer>): [Channel, Uint8Array<ArrayBuffer>] | null {
  const channel = CHANNELS[frame[0] ?? -1];
  return channel ? [channel, frame.subarray(1)] : null;
}

export const PROTOCOL = "terminal.bastion.dev";

export interface Wish {
  target: string;
  login: string | null;
  cols: number;
  rows: number;
}

/** Where the gateway is: `origin` where it has one of its own, or else where the page is from. */
export function base(origin: string | null | undefined, here: string): string {
  return new URL(origin ?? here).origin;
}

/** Where a session is to be had, as HTTP has it. */
export function address(base: string, { target, login, cols, rows }: Wish): string {
  const query = new URLSearchParams({ target });
  if (login) query.set("login", login);
  query.set("cols", String(cols));
  query.set("rows", String(rows));
  return `${base}/terminal/v1/connect?${query}`;
}

/** The same as a WebSocket has it. */
export function socketAddress(address: string): string {
  return address.replace(/^http/, "ws");
}

/** What a text frame says; null where that is nothing the page knows. */
export function heard(text: string): FromGateway | null {
  try {
    const said: unknown = JSON.parse(text);
    return said && typeof said === "object" && "type" in said ? (said as FromGateway) : null;
  } catch {
    return null;
  }
}

/** A text for people, without what a terminal would obey. */
export function printable(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").trim();
}

/** No frame is longer, so that what is said besides need not wait long. */
export const PIECE = 16 * 1024;
/**
 * How many bytes may be on the way to the target. The gateway takes four times as many, and says only every 256 KiB how
 * far it has come: with less than that the page would wait for good.
 */
export const INPUT_WINDOW = 512 * 1024;

/** The same of files: no more than that, so that a key that is typed has little before it in a slow network. */
export const FILES_WINDOW = 288 * 1024;
/** How much the browser may still have to send when it is given more of files: a key that is typed waits for all of that. */
export const FILES_AHEAD = 64 * 1024;

/** What is for the target on a channel, as the gateway has room for it. */
export class Input {
  private waiting: Uint8Array<ArrayBuffer>[] = [];
  private away = 0;

  constructor(private readonly window = INPUT_WINDOW) {}

  /** Has bytes wait for their turn. */
  put(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.length > 0) this.waiting.push(bytes);
  }

  /** The next frame, if there is one and room for it. */
  next(): Uint8Array<ArrayBuffer> | null {
    const first = this.waiting[0];
    const room = Math.min(PIECE, this.window - this.away);
    if (!first || room <= 0) return null;
    const piece = first.subarray(0, room);
    if (piece.length === first.length) this.waiting.shift();
    else this.waiting[0] = first.subarray(piece.length);
    this.away += piece.length;
    return piece;
  }

  /** The gateway has passed on so many bytes. */
  arrived(bytes: number): void {
    this.away = Math.max(0, this.away - bytes);
  }

  /** The session begins: what was typed before it was an answer to a question, which nobody counts. */
  begin(): void {
    this.away = 0;
  }
}

/** How much is shown before the gateway is told: it has 128 KiB on the way, and each telling is a frame. */
export const ACK_EVERY = 16 * 1024;

/** What was shown and the gateway has not been told of. */
export class Shown {
  private bytes = 0;

  /** So many more bytes were shown; returns how many to tell of now. */
  add(bytes: number): number {
    this.bytes += bytes;
    return this.bytes >= ACK_EVERY ? this.take() : 0;
  }

  /** What is left to tell of, when nothing more comes. */
  take(): number {
    const bytes = this.bytes;
    this.bytes = 0;
    return bytes;
  }
}

export const PING_EVERY = 10_000;
/** How long a question may be open: 30 s after the last word, with the 10 s before it was asked. Clocks run unevenly. */
export const SILENCE = 2 * PING_EVERY - 1000;

/**
 * Whether the gateway still answers. A tab in the background has its clock run once a minute, so what counts is how long
 * a question is open, not how long nothing came.
 */
export class Pulse {
  private asked: number | null = null;

  /** Anything came. */
  heard(): void {
    this.asked = null;
  }

  /** The clock: asks, or finds the gateway lost. */
  tick(now: number): "ask" | "lost" {
    this.asked ??= now;
    return now - this.asked >= SILENCE ? "lost" : "ask";
  }
}
