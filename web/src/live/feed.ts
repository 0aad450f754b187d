// What the live feed says, and what is online by it: pure. A page is never wrong in silence: whatever does not follow from
// what came before is a gap, and then everything is asked for anew.

import type { Session } from "../api/types";

export interface Ended {
  session: Session;
  /** When the page showed it, by the console's clock, in milliseconds since 1970. */
  shownAt: number;
}

/** What a session does just now, where the console knows. */
export interface Activity {
  idle_seconds: number | null;
  bytes_in: number | null;
  bytes_out: number | null;
}

export interface Online {
  /** Whether what is shown is so now. */
  live: boolean;
  /** When the console last said something, by this machine's clock; 0 before. */
  heard: number;
  /** By the sessions' names. */
  activity: ReadonlyMap<string, Activity & { at: number }>;
  /** When sessions began of which the page was told as they did, in milliseconds since 1970, the oldest first. */
  starts: readonly number[];
  sessions: ReadonlyMap<string, Session>;
  /** The newest first. */
  ended: readonly Ended[];
  /** How many deltas there were since the last snapshot. */
  sequence: number;
  /** What has come of a snapshot so far. */
  parts: readonly Session[];
  missingParts: number;
  /** By how much this machine's clock is ahead of the console's, with the shortest way of a message, in milliseconds. */
  ahead: number;
}

interface Snapshot {
  live: boolean;
  part: number;
  parts: number;
  sessions: Session[];
  /** Whose sessions it has, by the Kubernetes user name that they stand for; null where it has everybody's. */
  subject: string | null;
}

export type Message = { sequence: number; timestamp: string } & (
  | { type: "snapshot"; data: Snapshot }
  | { type: "session_start" | "session_update" | "session_end"; session_id: string; data: Session }
  | { type: "heartbeat" | "stale" }
  | { type: "activity"; data: Record<string, Activity> }
);

/** How many of those that ended are kept. */
export const KEPT = 500;

export const NOTHING: Online = {
  live: false,
  heard: 0,
  activity: new Map(),
  starts: [],
  sessions: new Map(),
  ended: [],
  sequence: 0,
  parts: [],
  missingParts: 0,
  ahead: Number.POSITIVE_INFINITY,
};

/** What is online after these messages, which came in this order at `now`; null where something is missing between them. */
export function heed(before: Online, messages: readonly Message[], now: number): Online | null {
  const sessions = new Map(before.sessions);
  const state: Draft = { ...before, sessions, ended: [...before.ended], starts: [...before.starts], heard: now };
  for (const message of messages) {
    // Clocks are set now and then: each picture measures anew.
    if (message.type === "snapshot" && message.data.part === 1) state.ahead = Number.POSITIVE_INFINITY;
    state.ahead = Math.min(state.ahead, now - Date.parse(message.timestamp));
    if (!step(state, message, now)) return null;
  }
  state.ended = state.ended.slice(0, KEPT);
  state.starts = state.starts.slice(-KEPT);
  return state;
}

type Draft = Omit<Online, "sessions" | "ended" | "starts"> & { sessions: Map<string, Session>; ended: Ended[]; starts: number[] };

function step(state: Draft, message: Message, now: number): boolean {
  switch (message.type) {
    case "snapshot":
      return snapshot(state, message.data, now);
    case "heartbeat":
      return state.missingParts > 0 || message.sequence === state.sequence;
    case "stale":
      state.live = false;
      return true;
    case "session_start":
    case "session_update":
    case "session_end":
      if (state.missingParts > 0 || message.sequence !== state.sequence + 1) return false;
      state.sequence = message.sequence;
      if (message.type === "session_start") state.starts.push(now);
      if (message.type === "session_end") end(state, message.data, now);
      else state.sessions.set(message.session_id, message.data);
      return true;
    case "activity":
      state.activity = new Map(Object.entries(message.data).map(([name, data]) => [name, { ...data, at: now }]));
      return true;
    default:
      // A console that is newer than the page may say more, and numbers what must not be missed.
      return true;
  }
}

function snapshot(state: Draft, data: Snapshot, now: number): boolean {
  const first = data.part === 1;
  if (!first && state.missingParts !== data.parts - data.part + 1) return false;
  state.parts = first ? data.sessions : [...state.parts, ...data.sessions];
  state.missingParts = data.parts - data.part;
  if (state.missingParts > 0) return true;
  const shown = new Map(state.parts.map((session) => [session.session_id, session]));
  // What ended unseen has ended all the same; nobody told how. What this person no longer sees may well go on.
  if (data.live) {
    for (const session of state.sessions.values()) {
      if (!shown.has(session.session_id) && wouldShow(data, session)) state.ended.unshift({ session, shownAt: now - state.ahead });
    }
  }
  // An old picture may stand, marked as old, where the console knows nothing yet.
  if (data.live || state.sessions.size === 0) state.sessions = shown;
  state.parts = [];
  state.sequence = 0;
  state.live = data.live;
  return true;
}

/** Whether a snapshot would have a session that goes on. */
function wouldShow({ subject }: Snapshot, session: Session): boolean {
  return subject === null || session.subject === subject;
}

function end(state: Draft, session: Session, now: number): void {
  state.sessions.delete(session.session_id);
  state.ended.unshift({ session, shownAt: now - state.ahead });
}

/** How long it took from the end to the page, in milliseconds; null where nobody saw the end itself. */
export function delay({ session, shownAt }: Ended): number | null {
  if (!session.end_time || session.status === "active") return null;
  return Math.max(0, shownAt - Date.parse(session.end_time));
}
