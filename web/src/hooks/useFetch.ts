// Data from the console's API as React state.

import { useEffect, useState } from "react";
import { toErrorMessage } from "../api/client";
import { type NextDelay, poll } from "./poll";

interface FetchState<T> {
  /** The last data. An error does not clear it. */
  data: T | null;
  errorMessage: string | null;
  error: unknown;
  /** Whether the result for the current key has not arrived. Until then, the data belongs to an earlier key. */
  isPending: boolean;
}

/**
 * Fetches data whenever `key` changes, and again after each interval. `interval` is a number of milliseconds, or a function
 * that returns the delays for one key; 0 means that the request is not repeated.
 */
export function useFetch<T>(fetchData: () => Promise<T>, key: string, interval: number | (() => NextDelay<T>) = 0): FetchState<T> {
  const [state, setState] = useState<Omit<FetchState<T>, "isPending"> & { key: string | null }>({ data: null, errorMessage: null, error: null, key: null });
  useEffect(() => {
    const nextDelay = typeof interval === "function" ? interval() : () => interval || null;
    return poll(fetchData, ({ data, error }) => {
      if (data !== undefined) setState({ data, errorMessage: null, error: null, key });
      else setState((before) => ({ data: before.key === key ? before.data : null, errorMessage: toErrorMessage(error), error, key }));
    }, nextDelay);
    // `fetchData` changes with each render; the key identifies the request.
  }, [key, interval]);
  return { ...state, isPending: state.key !== key };
}
