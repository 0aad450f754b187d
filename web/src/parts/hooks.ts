// What several parts of the page do alike.

import { useEffect, useState } from "react";
import { sentence } from "../api";
import { asking, type Pause } from "./asking";

/** The time, as it goes by. */
export function useNow(every = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const clock = window.setInterval(() => setNow(Date.now()), every);
    return () => window.clearInterval(clock);
  }, [every]);
  return now;
}

/** Whether screen readers can read what screens show, which costs time on each line; the web terminal keeps it alike. */
export function useScreenReader(): [boolean, (on: boolean) => void] {
  const [on, setOn] = useState(() => localStorage.getItem("screenReader") === "on");
  useEffect(() => localStorage.setItem("screenReader", on ? "on" : ""), [on]);
  return [on, setOn];
}

export interface Asked<T> {
  answer: T | null;
  /** What went wrong; the last answer stays. */
  error: string | null;
  failure: unknown;
  /** Whether another question is open than the one that is answered here. */
  waiting: boolean;
}

/** Asks again whenever `key` is another one, and every so many milliseconds, or as a plan says that begins with each key. */
export function useAsked<T>(ask: () => Promise<T>, key: string, every: number | (() => Pause<T>) = 0): Asked<T> {
  const [asked, setAsked] = useState<Omit<Asked<T>, "waiting"> & { key: string | null }>({ answer: null, error: null, failure: null, key: null });
  useEffect(() => {
    const pause = typeof every === "function" ? every() : () => every || null;
    return asking(ask, ({ answer, failure }) => {
      if (answer !== undefined) setAsked({ answer, error: null, failure: null, key });
      else setAsked((before) => ({ answer: before.key === key ? before.answer : null, error: sentence(failure), failure, key }));
    }, pause);
    // What is asked is told by the key.
  }, [key, every]);
  return { ...asked, waiting: asked.key !== key };
}
