// Detects whether the user works in the list.

import { type RefObject, useEffect, useRef } from "react";

/** How long the user counts as working in the list after the last movement. */
const INTERACTION_MS = 4000;

/**
 * Reports whether the user works in the list: the user has just moved in it, or it is scrolled down. The returned function
 * records a movement, or the end of the movement when called with false.
 */
export function useInteraction(onInteraction: (isActive: boolean) => void, container: RefObject<HTMLDivElement | null>): (isActive?: unknown) => void {
  const timer = useRef(0);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  return (isActive) => {
    window.clearTimeout(timer.current);
    const settle = (): void => onInteraction((container.current?.scrollTop ?? 0) > 0);
    if (isActive === false) return settle();
    onInteraction(true);
    timer.current = window.setTimeout(settle, INTERACTION_MS);
  };
}
