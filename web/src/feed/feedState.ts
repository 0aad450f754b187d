// Messages of the live feed, and the state that results from them. If the sequence number of a message does not follow the
// previous one, there is a gap; the client then starts again with a new snapshot.

import type { Session } from "../api/types";

export interface EndedSession {
  session: Session;
  /** When the page showed the end, by the console's clock, in milliseconds since 1970. */
  shownAt: number;
}

/** The current activity of a session. A field is null if the console does not know it. */
interface SessionActivity {
  idle_seconds: number | null;
  bytes_in: number | null;
  bytes_out: number | null;
}

export type TimedActivity = SessionActivity & { receivedAt: number };

/** Returns the seconds that a session has been idle at `now`, in milliseconds since 1970; null if that is unknown. */
export function idleSeconds(activity: TimedActivity | undefined, now: number): number | null {
  return activity?.idle_seconds == null ? null : activity.idle_seconds + (now - activity.receivedAt) / 1000;
}

export interface FeedState {
  /** Whether the sessions are current. */
  live: boolean;
  /** When the last message came, by the browser's clock, in milliseconds since 1970; 0 before the first. */
  lastMessageAt: number;
  /** The activity of sessions, by session name. */
  activity: ReadonlyMap<string, TimedActivity>;
  /** When the page saw sessions start, in milliseconds since 1970, oldest first. */
  startTimes: readonly number[];
  /** The online sessions, by session ID. */
  sessions: ReadonlyMap<string, Session>;
  /** The sessions that have ended, newest first. */
  ended: readonly EndedSession[];
  /** The number of deltas since the last snapshot. */
  sequence: number;
  /** The sessions of an incomplete snapshot. */
  snapshotParts: readonly Session[];
  missingSnapshotParts: number;
  /** How far the browser's clock is ahead of the console's, plus the shortest transit of a message, in milliseconds. */
  clockOffset: number;
}

interface Snapshot {
  live: boolean;
  part: number;
  parts: number;
  sessions: Session[];
  /** The Kubernetes user whose sessions the snapshot has; null if it has the sessions of all users. */
  subject: string | null;
}

export type FeedMessage = { sequence: number; timestamp: string } & (
  | { type: "snapshot"; data: Snapshot }
  | { type: "session_start" | "session_update" | "session_end"; session_id: string; data: Session }
  | { type: "heartbeat" | "stale" }
  | { type: "activity"; data: Record<string, SessionActivity> }
);

/** How many ended sessions and start times are kept. */
export const MAX_KEPT = 500;

export const EMPTY_FEED: FeedState = {
  live: false,
  lastMessageAt: 0,
  activity: new Map(),
  startTimes: [],
  sessions: new Map(),
  ended: [],
  sequence: 0,
  snapshotParts: [],
  missingSnapshotParts: 0,
  clockOffset: Number.POSITIVE_INFINITY,
};

/** Applies messages that were received at `now`, in order. Returns null if a message is missing. */
export function applyMessages(previous: FeedState, messages: readonly FeedMessage[], now: number): FeedState | null {
  const sessions = new Map(previous.sessions);
  const state: Draft = { ...previous, sessions, ended: [...previous.ended], startTimes: [...previous.startTimes], lastMessageAt: now };
  for (const message of messages) {
    // Clocks may be set at any time, so each snapshot measures the offset again.
    if (message.type === "snapshot" && message.data.part === 1) state.clockOffset = Number.POSITIVE_INFINITY;
    state.clockOffset = Math.min(state.clockOffset, now - Date.parse(message.timestamp));
    if (!applyMessage(state, message, now)) return null;
  }
  state.ended = state.ended.slice(0, MAX_KEPT);
  state.startTimes = state.startTimes.slice(-MAX_KEPT);
  return state;
}

type Draft = Omit<FeedState, "sessions" | "ended" | "startTimes"> & { sessions: Map<string, Session>; ended: EndedSession[]; startTimes: number[] };

/** Applies one message; returns false at a gap. */
function applyMessage(state: Draft, message: FeedMessage, now: number): boolean {
  switch (message.type) {
    case "snapshot":
      return applySnapshot(state, message.data, now);
    case "heartbeat":
      return state.missingSnapshotParts > 0 || message.sequence === state.sequence;
    case "stale":
      state.live = false;
      return true;
    case "session_start":
    case "session_update":
    case "session_end":
      if (state.missingSnapshotParts > 0 || message.sequence !== state.sequence + 1) return false;
      state.sequence = message.sequence;
      if (message.type === "session_start") state.startTimes.push(now);
      if (message.type === "session_end") recordEnd(state, message.data, now);
      else state.sessions.set(message.session_id, message.data);
      return true;
    case "activity":
      state.activity = new Map(Object.entries(message.data).map(([name, data]) => [name, { ...data, receivedAt: now }]));
      return true;
    default:
      // A newer console may send other messages. It gives a sequence number to each message that must not be missed.
      return true;
  }
}

function applySnapshot(state: Draft, data: Snapshot, now: number): boolean {
  const isFirst = data.part === 1;
  if (!isFirst && state.missingSnapshotParts !== data.parts - data.part + 1) return false;
  state.snapshotParts = isFirst ? data.sessions : [...state.snapshotParts, ...data.sessions];
  state.missingSnapshotParts = data.parts - data.part;
  if (state.missingSnapshotParts > 0) return true;
  const complete = new Map(state.snapshotParts.map((session) => [session.session_id, session]));
  // A session that is missing has ended, unless the user may no longer see it. How it ended is unknown.
  if (data.live) {
    for (const session of state.sessions.values()) {
      if (!complete.has(session.session_id) && isVisible(data, session)) recordEnd(state, session, now);
    }
  }
  // A console that is not live yet does not replace known sessions; they stay, marked as not live.
  if (data.live || state.sessions.size === 0) state.sessions = complete;
  state.snapshotParts = [];
  state.sequence = 0;
  state.live = data.live;
  return true;
}

/** Whether a snapshot would contain this session if it were still online. */
function isVisible({ subject }: Snapshot, session: Session): boolean {
  return subject === null || session.subject === subject;
}

function recordEnd(state: Draft, session: Session, now: number): void {
  state.sessions.delete(session.session_id);
  state.ended.unshift({ session, shownAt: now - state.clockOffset });
}

/** Returns the milliseconds from the end of a session to its display; null if the page did not see the end. */
export function displayDelay({ session, shownAt }: EndedSession): number | null {
  if (!session.end_time || session.status === "active") return null;
  return Math.max(0, shownAt - Date.parse(session.end_time));
}
