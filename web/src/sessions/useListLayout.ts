// The rows of the list as React state.

import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { FeedState } from "../feed/feedState";
import { currentLayout, frozenLayout, type ListLayout } from "./listLayout";
import type { ListPage, ListQuery } from "./listQuery";

/**
 * Returns the rows of the current page, or the previous rows while `frozen`. Also returns a function that shows the current
 * page although the rows are frozen. A change of `key` does the same.
 */
export function useListLayout(page: ListPage, query: ListQuery, feedState: FeedState, frozen: boolean, key: string): [ListLayout, () => void] {
  const [revision, setRevision] = useState(0);
  const previous = useRef<{ key: string; layout: ListLayout } | null>(null);
  const showCurrent = useCallback(() => setRevision((before) => before + 1), []);
  const layoutKey = `${key} ${revision}`;
  const layout = useMemo(() => {
    const before = previous.current;
    if (!frozen || before?.key !== layoutKey || before.layout.slots.length === 0) return currentLayout(page);
    return frozenLayout(before.layout.slots, page, query, feedState.sessions, feedState.ended);
  }, [page, query, feedState, frozen, layoutKey]);
  useEffect(() => {
    previous.current = { key: layoutKey, layout };
  }, [layoutKey, layout]);
  return [layout, showCurrent];
}
