// What the console says on the WebSocket of a session that is followed. The page answers with pings alone: it changes nothing.

import type { Session } from "../api/types";

export interface Whose {
  session: string;
  user: string;
  target: string;
  login: string;
}

export interface End {
  status: Session["status"];
  reason: string;
  message: string;
}

export type Said =
  | ({ type: "following" } & Whose)
  /** A terminal of the session: it is there, is new, or has another size now. */
  | { type: "terminal"; number: number; cols: number; rows: number }
  /** It is closed; or some of its output is left out. */
  | { type: "terminal_end" | "skipped"; number: number }
  | { type: "pong" }
  | ({ type: "end" } & End);

/** Output of a terminal. */
export interface Output {
  number: number;
  bytes: Uint8Array;
}

export const PROTOCOL = "follow.bastion.dev";
export const PING = JSON.stringify({ type: "ping" });

/** Where a session is followed: as a WebSocket, or to be told why not. */
export const path = (session: string): string => `/api/v1/sessions/${encodeURIComponent(session)}/follow`;

/** What a text frame says; null where that is nothing a page could know. */
export function said(text: string): Said | null {
  try {
    const found: unknown = JSON.parse(text);
    return found && typeof found === "object" && "type" in found ? (found as Said) : null;
  } catch {
    return null;
  }
}

/** The terminal's number, and its output behind it; null where there is not even a number. */
export function output(frame: ArrayBuffer): Output | null {
  const header = Uint32Array.BYTES_PER_ELEMENT;
  if (frame.byteLength < header) return null;
  return { number: new DataView(frame).getUint32(0), bytes: new Uint8Array(frame, header) };
}
