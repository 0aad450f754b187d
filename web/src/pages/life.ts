// The life of a session, from the session itself and from its Events: pure.

import type { SessionEvent, Session } from "../api/types";
import type { NextDelay } from "../hooks/poll";

export interface Step {
  /** Null where nobody told. */
  time: string | null;
  kind: "began" | "event" | "seen" | "asked" | "ended";
  /** What an Event calls itself. */
  name: string | null;
  text: string | null;
  warning: boolean;
  count: number;
}

const step = (kind: Step["kind"], time: string | null, text: string | null): Step => ({ kind, time, text, name: null, warning: false, count: 1 });

/** What an Event and the session both tell is there once: the session's own word stays when Events are long gone. */
export function life(session: Session, events: readonly SessionEvent[]): Step[] {
  const started = events.find((it) => it.reason === "Started");
  const own = (it: SessionEvent): boolean => it !== started && (session.reason === null || it.reason !== session.reason);
  const steps = [step("began", session.start_time, started?.message ?? null)];
  for (const it of events.filter(own)) {
    steps.push({ ...step("event", it.time, it.message), name: it.reason, warning: it.type === "Warning", count: it.count });
  }
  if (session.last_seen_time) steps.push(step("seen", session.last_seen_time, null));
  const ended = session.status === "active" ? null : step("ended", session.end_time, session.message);
  if (ended?.time) steps.push(ended);
  // Times are written more and less exactly: as text they do not sort.
  const at = ({ time }: Step): number => (time === null ? 0 : Date.parse(time));
  steps.sort((a, b) => at(a) - at(b));
  if (ended && !ended.time) steps.push(ended);
  const { termination } = session;
  if (termination) {
    const place = ended ? steps.indexOf(ended) : steps.length;
    steps.splice(place, 0, { ...step("asked", null, termination.reason), name: termination.requested_by });
  }
  return steps;
}

/** From one look at an open session to the next. */
const LOOK = 2000;

/**
 * When one session is looked at: often while it is open; once it has ended soon again, for the Events that came late, and
 * then for what became of its recording. A session that has ended stays as it is.
 */
export function looks(): NextDelay<{ session: Session }> {
  const after = [LOOK, 15_000];
  return ({ data }) => (data && data.session.status !== "active" ? (after.shift() ?? null) : LOOK);
}

/** How many seconds are left of a limit, of which so many are used; null where there is no limit or nobody knows. */
export function left(limit: number | null | undefined, used: number | null): number | null {
  return limit == null || used === null ? null : Math.max(0, limit - used);
}
