// The delay between attempts to connect.

const [INITIAL_DELAY_MS, MAX_DELAY_MS] = [250, 10_000];

/** Returns the delay in milliseconds after a number of failures. `jitter`, from 0 to 1, spreads the attempts of many pages. */
export function backoffDelay(failures: number, jitter: number): number {
  return Math.min(MAX_DELAY_MS, INITIAL_DELAY_MS * 2 ** failures) * (0.5 + jitter);
}
