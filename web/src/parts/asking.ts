// Asks again and again, and only where there may be something to hear: never in a tab that nobody sees, and no more where the
// answer will stay what it is.

import { Refused } from "../api";

export type Outcome<T> = { answer: T; failure?: undefined } | { answer?: undefined; failure: unknown };

/** How many milliseconds it is to the next look after this one; null for none. */
export type Pause<T> = (outcome: Outcome<T>) => number | null;

/** Whether asking again would be refused again. */
function final(failure: unknown): boolean {
  return failure instanceof Refused && [401, 403, 404].includes(failure.status);
}

/** Tells what comes of each look, one after the other, until the function that it returns is called. */
export function asking<T>(ask: () => Promise<T>, tell: (outcome: Outcome<T>) => void, pause: Pause<T>): () => void {
  let [left, due] = [false, false];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = async (): Promise<void> => {
    due = false;
    const outcome = await ask().then((answer): Outcome<T> => ({ answer }), (failure: unknown): Outcome<T> => ({ failure }));
    // Somebody asks for something else by now: this answer is not the one they wait for.
    if (left) return;
    tell(outcome);
    const wait = final(outcome.failure) ? null : pause(outcome);
    if (wait !== null) timer = setTimeout(next, wait);
  };
  const next = (): void => {
    due = true;
    if (!document.hidden) void look();
  };
  const seen = (): void => {
    if (due && !document.hidden) void look();
  };
  document.addEventListener("visibilitychange", seen);
  void look();
  return () => {
    left = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}
