// The one live feed of the page, for all of its parts.

import { createContext, useContext, useSyncExternalStore } from "react";
import { Feed } from "./connection";
import type { Online } from "./feed";

export const Live = createContext<Feed>(new Feed());

export const useFeed = (): Feed => useContext(Live);

export function useOnline(): Online {
  const feed = useFeed();
  return useSyncExternalStore(feed.subscribe, feed.snapshot);
}

/** Why the console lets nobody see it, if so. */
export function useRefusal(): string | null {
  const feed = useFeed();
  return useSyncExternalStore(feed.subscribe, feed.refusal);
}
