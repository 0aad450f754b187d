// A small router on the browser's History API.

import { useCallback, useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
const initialPath = location.pathname;
let navigated = false;
const notify = (): void => {
  navigated ||= location.pathname !== initialPath;
  listeners.forEach((listener) => listener());
};
window.addEventListener("popstate", notify);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whether the path has changed since the page was loaded. */
export const hasNavigated = (): boolean => navigated;

/** Changes the address; `replace` overwrites the current history entry. */
export function navigate(to: string, replace = false): void {
  window.history[replace ? "replaceState" : "pushState"](null, "", to);
  notify();
}

/** Splits a path and decodes its segments. A segment with invalid percent-encoding stays as it is. */
export function pathSegments(path: string): string[] {
  return path.split("/").map((segment) => {
    try {
      return decodeURIComponent(segment);
    } catch {
      return segment;
    }
  });
}

export function usePath(): string {
  return useSyncExternalStore(subscribe, () => location.pathname);
}

/** Returns the query of the address, and a function that changes it. */
export function useSearchParams(): [URLSearchParams, (params: URLSearchParams, replace?: boolean) => void] {
  const search = useSyncExternalStore(subscribe, () => location.search);
  const setParams = useCallback((params: URLSearchParams, replace = true) => {
    const query = params.toString();
    navigate(location.pathname + (query ? `?${query}` : ""), replace);
  }, []);
  return [new URLSearchParams(search), setParams];
}
