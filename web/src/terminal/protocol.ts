// Messages of a terminal's WebSocket. A binary frame begins with the number of its channel: the shell, or files (SFTP).
// The gateway's web terminal is the other side.

export type Channel = "shell" | "files";

const CHANNELS: readonly Channel[] = ["shell", "files"];

export type GatewayMessage =
  | { type: "session"; files: boolean; name: string; id: string; user: string; target: string; login: string }
  | { type: "ack"; channel: Channel; bytes: number }
  | { type: "files_closed"; message: string }
  | { type: "pong" }
  | { type: "notice"; text: string }
  | { type: "end"; status: string; reason: string; message: string; exitCode?: number };

export type ClientMessage =
  | { type: "resize"; cols: number; rows: number }
  | { type: "ack"; channel: Channel; bytes: number }
  | { type: "open_files" | "close_files" | "ping" };

export function encodeFrame(channel: Channel, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const encoded = new Uint8Array(1 + bytes.length);
  encoded[0] = CHANNELS.indexOf(channel);
  encoded.set(bytes, 1);
  return encoded;
}

/** Splits a frame into its channel and bytes; returns null for an unknown channel. */
export function decodeFrame(frame: Uint8Array<ArrayBuffer>): [Channel, Uint8Array<ArrayBuffer>] | null {
  const channel = CHANNELS[frame[0] ?? -1];
  return channel ? [channel, frame.subarray(1)] : null;
}

export const SUBPROTOCOL = "terminal.bastion.dev";

interface ConnectRequest {
  target: string;
  login: string | null;
  cols: number;
  rows: number;
}

/** Returns the gateway's origin, which is the page's own unless `origin` is configured. */
export function gatewayOrigin(origin: string | null | undefined, pageUrl: string): string {
  return new URL(origin ?? pageUrl).origin;
}

/** Returns the HTTP URL of a new session. */
export function connectUrl(origin: string, { target, login, cols, rows }: ConnectRequest): string {
  const query = new URLSearchParams({ target });
  if (login) query.set("login", login);
  query.set("cols", String(cols));
  query.set("rows", String(rows));
  return `${origin}/terminal/v1/connect?${query}`;
}
