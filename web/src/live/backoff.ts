// From one attempt to connect to the next: pure.

const [FIRST, LONGEST] = [250, 10_000];

/** How many milliseconds to wait after so many attempts that failed; `chance`, from 0 to 1, keeps pages from coming all at once. */
export function backoff(failed: number, chance: number): number {
  return Math.min(LONGEST, FIRST * 2 ** failed) * (0.5 + chance);
}
