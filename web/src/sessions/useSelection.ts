// The selected rows of the list.

import { useCallback, useMemo, useState } from "react";
import type { Session } from "../api/types";

interface Selection {
  ids: ReadonlySet<string>;
  /** The selected sessions that are still online. */
  sessions: readonly Session[];
  toggle: (ids: readonly string[], isSelected: boolean) => void;
  clear: () => void;
}

export function useSelection(online: ReadonlyMap<string, Session>): Selection {
  const [ids, setIds] = useState<ReadonlySet<string>>(new Set());
  const sessions = useMemo(() => [...ids].flatMap((id) => online.get(id) ?? []), [ids, online]);
  const toggle = useCallback((changed: readonly string[], isSelected: boolean) => {
    setIds((before) => {
      const after = new Set(before);
      for (const id of changed) if (isSelected) after.add(id); else after.delete(id);
      return after;
    });
  }, []);
  const clear = useCallback(() => setIds(new Set()), []);
  return { ids, sessions, toggle, clear };
}
