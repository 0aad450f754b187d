// The React hook that checks whether the user may terminate a session.

import { useCallback } from "react";
import type { CurrentUser, Session } from "../api/types";

/** Returns why the user may not terminate a session; null if they may. */
export type TerminationBlocker = (session: Session) => string | null;

export function useTerminationBlocker(me: CurrentUser): TerminationBlocker {
  const { allowed, reason } = me.rights.terminate_sessions;
  return useCallback((session) => (allowed || session.subject === me.user ? null : (reason ?? "")), [allowed, reason, me.user]);
}
