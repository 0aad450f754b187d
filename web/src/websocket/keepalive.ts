// Detection of a lost WebSocket by pings.

export const PING_INTERVAL_MS = 10_000;
/**
 * How long a ping may stay unanswered. A lost connection is thus noticed 30 s after the last message: one interval before the
 * ping, and two after it. One second is subtracted for the jitter of timers.
 */
export const PONG_TIMEOUT_MS = 2 * PING_INTERVAL_MS - 1000;

/**
 * Detects whether the other side still answers. It measures how long a ping is unanswered, not how long the connection is
 * silent, because the timers of a background tab may run only once a minute.
 */
export class Keepalive {
  private waitingSince: number | null = null;

  /** Records that a message of any kind has arrived. */
  received(): void {
    this.waitingSince = null;
  }

  /** Call this at each interval. Returns what to do: send a ping, or give up the connection. */
  tick(now: number): "ping" | "lost" {
    this.waitingSince ??= now;
    return now - this.waitingSince >= PONG_TIMEOUT_MS ? "lost" : "ping";
  }
}
