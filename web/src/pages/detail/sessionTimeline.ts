// The timeline of a session, from the session itself and its Kubernetes Events.

import type { Session, SessionEvent } from "../../api/types";
import type { NextDelay } from "../../hooks/poll";

export interface TimelineEntry {
  /** Null if the time is unknown. */
  time: string | null;
  kind: "began" | "event" | "seen" | "asked" | "ended";
  /** The reason of an Event, or the person who requested the termination. */
  name: string | null;
  text: string | null;
  warning: boolean;
  count: number;
}

const makeEntry = (kind: TimelineEntry["kind"], time: string | null, text: string | null): TimelineEntry => ({ kind, time, text, name: null, warning: false, count: 1 });

/** Merges a session with its Events. The start and the end are taken from the session, because Events expire. */
export function sessionTimeline(session: Session, events: readonly SessionEvent[]): TimelineEntry[] {
  const startEvent = events.find((it) => it.reason === "Started");
  const isNew = (it: SessionEvent): boolean => it !== startEvent && (session.reason === null || it.reason !== session.reason);
  const entries = [makeEntry("began", session.start_time, startEvent?.message ?? null)];
  for (const it of events.filter(isNew)) {
    entries.push({ ...makeEntry("event", it.time, it.message), name: it.reason, warning: it.type === "Warning", count: it.count });
  }
  if (session.last_seen_time) entries.push(makeEntry("seen", session.last_seen_time, null));
  const end = session.status === "active" ? null : makeEntry("ended", session.end_time, session.message);
  if (end?.time) entries.push(end);
  // Times differ in precision, so they do not sort as text.
  const at = ({ time }: TimelineEntry): number => (time === null ? 0 : Date.parse(time));
  entries.sort((a, b) => at(a) - at(b));
  if (end && !end.time) entries.push(end);
  const { termination } = session;
  if (termination) {
    const index = end ? entries.indexOf(end) : entries.length;
    entries.splice(index, 0, { ...makeEntry("asked", null, termination.reason), name: termination.requested_by });
  }
  return entries;
}

/** Delay between two requests for an open session. */
const POLL_INTERVAL_MS = 2000;

/**
 * Returns the delays between requests for one session. After its end there are two more requests: one soon after, for late
 * Events, and one later, for the state of its recording.
 */
export function detailDelays(): NextDelay<{ session: Session }> {
  const delaysAfterEnd = [POLL_INTERVAL_MS, 15_000];
  return ({ data }) => (data && data.session.status !== "active" ? (delaysAfterEnd.shift() ?? null) : POLL_INTERVAL_MS);
}

/** Returns the seconds that are left of a limit; null if there is no limit or the usage is unknown. */
export function remainingSeconds(limit: number | null | undefined, used: number | null): number | null {
  return limit == null || used === null ? null : Math.max(0, limit - used);
}
