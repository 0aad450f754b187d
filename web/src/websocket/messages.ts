// Helpers for WebSockets with JSON messages.

/** Status codes of a close frame (RFC 6455, 7.4.1). */
export const CLOSE_NORMAL = 1000;
export const CLOSE_POLICY_VIOLATION = 1008;

/** The HTTP status of a plain request to a path that would accept the user's WebSocket. */
export const UPGRADE_REQUIRED = 426;

/** Parses a text message; returns null unless it is an object with a type. */
export function parseMessage<T extends { type: string }>(text: string): T | null {
  try {
    const message: unknown = JSON.parse(text);
    return message && typeof message === "object" && "type" in message ? (message as T) : null;
  } catch {
    return null;
  }
}

/** Turns `http` and `https` into `ws` and `wss`. */
export function toWebSocketUrl(url: string): string {
  return url.replace(/^http/, "ws");
}
