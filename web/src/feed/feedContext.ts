// The page's one live feed, as a React context.

import { createContext, useContext, useSyncExternalStore } from "react";
import { FeedClient } from "./feedClient";
import type { FeedState } from "./feedState";

export const FeedContext = createContext<FeedClient>(new FeedClient());

export const useFeedClient = (): FeedClient => useContext(FeedContext);

export function useFeedState(): FeedState {
  const feed = useFeedClient();
  return useSyncExternalStore(feed.subscribe, feed.snapshot);
}

/** Returns the reason why the console refuses the feed, or null. */
export function useFeedRefusal(): string | null {
  const feed = useFeedClient();
  return useSyncExternalStore(feed.subscribe, feed.refusal);
}
