import { useEffect, useState } from "react";

/** Returns true once `active` has been true for `delay` milliseconds. */
export function useDelayed(active: boolean, delay: number): boolean {
  const [delayed, setDelayed] = useState(false);
  useEffect(() => {
    setDelayed(false);
    if (!active) return;
    const timer = window.setTimeout(() => setDelayed(true), delay);
    return () => window.clearTimeout(timer);
  }, [active, delay]);
  return delayed;
}
