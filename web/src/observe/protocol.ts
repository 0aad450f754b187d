// Messages of the WebSocket that observes a session. The page sends only pings.

import type { Session } from "../api/types";

export interface SessionInfo {
  session: string;
  user: string;
  target: string;
  login: string;
}

export interface SessionEnd {
  status: Session["status"];
  reason: string;
  message: string;
}

export type ObserveMessage =
  | ({ type: "following" } & SessionInfo)
  /** A terminal of the session exists, is new, or has a new size. */
  | { type: "terminal"; number: number; cols: number; rows: number }
  /** A terminal was closed, or some of its output was skipped. */
  | { type: "terminal_end" | "skipped"; number: number }
  | { type: "pong" }
  | ({ type: "end" } & SessionEnd);

export interface TerminalOutput {
  number: number;
  bytes: Uint8Array;
}

export const SUBPROTOCOL = "follow.bastion.dev";
export const PING_MESSAGE = JSON.stringify({ type: "ping" });

/** Returns the path of the WebSocket. A plain request to the same path returns the reason of a refusal. */
export const observePath = (session: string): string => `/api/v1/sessions/${encodeURIComponent(session)}/follow`;

/** Splits a frame into the terminal's number (32 bits, big-endian) and its output; returns null for a shorter frame. */
export function parseOutput(frame: ArrayBuffer): TerminalOutput | null {
  const header = Uint32Array.BYTES_PER_ELEMENT;
  if (frame.byteLength < header) return null;
  return { number: new DataView(frame).getUint32(0), bytes: new Uint8Array(frame, header) };
}
