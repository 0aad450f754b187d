// The rows of the list. While the user works in the list, its rows are frozen: an ended session keeps its row, and new sessions
// wait until the user asks for them.

import type { Session } from "../api/types";
import type { EndedSession } from "../feed/feedState";
import { cursorOf, type ListPage, type ListQuery, precedes } from "./listQuery";

/** A row of the list. It shows an online session, or a session that ended while the rows were frozen. */
export type Slot = { id: string; session: Session; ended: EndedSession | null };

export interface ListLayout {
  slots: readonly Slot[];
  /** The number of new sessions that belong on this page. */
  newCount: number;
}

/** Returns the rows of the current page. */
export function currentLayout(page: ListPage): ListLayout {
  return { slots: page.rows.map((session) => ({ id: session.session_id, session, ended: null })), newCount: 0 };
}

/** Returns the previous rows with the current state of their sessions. */
export function frozenLayout(previous: readonly Slot[], page: ListPage, query: ListQuery, sessions: ReadonlyMap<string, Session>, ended: readonly EndedSession[]): ListLayout {
  const endsById = new Map(ended.map((it) => [it.session.session_id, it]));
  const slots = previous.map((slot): Slot => {
    const session = sessions.get(slot.id);
    if (session) return { id: slot.id, session, ended: null };
    // `shownAt` is 0 if the page did not see an end. The user may have lost the permission to see the session.
    const end = endsById.get(slot.id) ?? slot.ended ?? { session: slot.session, shownAt: 0 };
    return { id: slot.id, session: end.session, ended: end };
  });
  const known = new Set(previous.map((slot) => slot.id));
  const last = slots.at(-1);
  const isFull = slots.length >= query.size && last !== undefined;
  // Sessions that move up from the next page are not new.
  const isOnPage = (it: Session): boolean => !isFull || precedes(cursorOf(it, query.sort), cursorOf(last.session, query.sort), query.descending);
  return { slots, newCount: page.rows.filter((it) => !known.has(it.session_id) && isOnPage(it)).length };
}
