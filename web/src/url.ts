// The page's address is its state: which part of it is open, and what is asked for there.

import { useCallback, useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
const first = location.pathname;
let gone = false;
const tell = (): void => {
  gone ||= location.pathname !== first;
  listeners.forEach((listener) => listener());
};
window.addEventListener("popstate", tell);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whether somebody has gone to another page since this one was loaded. */
export const hasGone = (): boolean => gone;

/** Goes somewhere; `replace` leaves no step to go back to. */
export function go(to: string, replace = false): void {
  window.history[replace ? "replaceState" : "pushState"](null, "", to);
  tell();
}

/** The parts of a path; what somebody wrote by hand and is no text stays as it is. */
export function segments(path: string): string[] {
  return path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}

/** Where the page is. */
export function usePath(): string {
  return useSyncExternalStore(subscribe, () => location.pathname);
}

/** What is asked for, and how to ask for something else. */
export function useParams(): [URLSearchParams, (params: URLSearchParams, replace?: boolean) => void] {
  const text = useSyncExternalStore(subscribe, () => location.search);
  const set = useCallback((params: URLSearchParams, replace = true) => {
    const query = params.toString();
    go(location.pathname + (query ? `?${query}` : ""), replace);
  }, []);
  return [new URLSearchParams(text), set];
}
