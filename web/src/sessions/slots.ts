// What stands in which place of the list: pure. While somebody works in it nothing moves: who leaves leaves their place empty,
// and who comes waits until they are asked for.

import type { Session } from "../api/types";
import type { Ended } from "../live/feed";
import { type Page, place, precedes, type Query } from "./query";

/** A place in the list: a session, or where one was. */
export type Slot = { id: string; session: Session; gone: Ended | null };

export interface Slots {
  slots: readonly Slot[];
  /** How many have come that would be on this page. */
  waiting: number;
}

/** The page as it is. */
export function fresh(page: Page): Slots {
  return { slots: page.rows.map((session) => ({ id: session.session_id, session, gone: null })), waiting: 0 };
}

/** The page as it was, with what has become of those on it. */
export function held(before: readonly Slot[], page: Page, query: Query, sessions: ReadonlyMap<string, Session>, ended: readonly Ended[]): Slots {
  const ends = new Map(ended.map((it) => [it.session.session_id, it]));
  const slots = before.map((slot): Slot => {
    const session = sessions.get(slot.id);
    if (session) return { id: slot.id, session, gone: null };
    // Of what is gone at 0 nobody told an end: it may be that this person may see it no longer.
    const gone = ends.get(slot.id) ?? slot.gone ?? { session: slot.session, shownAt: 0 };
    return { id: slot.id, session: gone.session, gone };
  });
  const known = new Set(before.map((slot) => slot.id));
  const last = slots.at(-1);
  const full = slots.length >= query.size && last !== undefined;
  // What moves up from the next page, because others have left, is not new.
  const here = (it: Session): boolean => !full || precedes(place(it, query.sort), place(last.session, query.sort), query.descending);
  return { slots, waiting: page.rows.filter((it) => !known.has(it.session_id) && here(it)).length };
}
