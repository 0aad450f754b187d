// Detection of a lost WebSocket by pings.

export const PING_INTERVAL_MS = 10_000;
/** How long a ping may stay unanswered: 30 s after the last message, less the interval before the ping, less some jitter of timers. */
export const PONG_TIMEOUT_MS = 2 * PING_INTERVAL_MS - 1000;

/**
 * Detects whether the other side still answers. Timers of a background tab may run once a minute, so it measures how
 * long a ping is unanswered, not how long the connection is silent.
 */
export class Keepalive {
  private waitingSince: number | null = null;

  /** Notes that any message came. */
  received(): void {
    this.waitingSince = null;
  }

  /** Returns at each interval what to do: send a ping, or give up the connection. */
  tick(now: number): "ping" | "lost" {
    this.waitingSince ??= now;
    return now - this.waitingSince >= PONG_TIMEOUT_MS ? "lost" : "ping";
  }
}
