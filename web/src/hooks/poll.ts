// Repeated requests that pause in a hidden tab and stop at a permanent error.

import { hasStatus } from "../api/client";

export type PollResult<T> = { data: T; error?: undefined } | { data?: undefined; error: unknown };

/** Returns the milliseconds to wait after a result; null stops the polling. */
export type NextDelay<T> = (result: PollResult<T>) => number | null;

/** The statuses after which the same request would be refused again. */
const PERMANENT_STATUSES = [401, 403, 404];

/** Calls `onResult` with the result of each request, until the returned function is called. */
export function poll<T>(fetchData: () => Promise<T>, onResult: (result: PollResult<T>) => void, nextDelay: NextDelay<T>): () => void {
  let [stopped, due] = [false, false];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const fetchOnce = async (): Promise<void> => {
    due = false;
    const result = await fetchData().then((data): PollResult<T> => ({ data }), (error: unknown): PollResult<T> => ({ error }));
    // A late result would overwrite the one of the request that replaced this one.
    if (stopped) return;
    onResult(result);
    const delay = hasStatus(result.error, ...PERMANENT_STATUSES) ? null : nextDelay(result);
    if (delay !== null) timer = setTimeout(fetchWhenVisible, delay);
  };
  const fetchWhenVisible = (): void => {
    due = true;
    if (!document.hidden) void fetchOnce();
  };
  const onVisibilityChange = (): void => {
    if (due && !document.hidden) void fetchOnce();
  };
  document.addEventListener("visibilitychange", onVisibilityChange);
  void fetchOnce();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", onVisibilityChange);
  };
}
