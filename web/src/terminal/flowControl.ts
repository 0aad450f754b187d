// Flow control of a terminal's WebSocket: how much may be in flight in each direction.

/** The longest frame. It is short, so that other messages do not wait long. */
export const MAX_FRAME_BYTES = 16 * 1024;

/**
 * The most bytes that may be in flight to the target. The gateway accepts four times as many. It acknowledges every 256 KiB,
 * so a window of less than 256 KiB would stall.
 */
export const INPUT_WINDOW = 512 * 1024;

/** The window of the files channel. It is smaller, so that a typed key waits for few bytes in a slow network. */
export const FILES_WINDOW = 288 * 1024;

/** File data is passed to the browser only below this `bufferedAmount`, because a typed key waits for all buffered data. */
export const MAX_BUFFERED_BYTES = 64 * 1024;

/** The queue of a channel's outgoing bytes, which are sent as the window allows. */
export class SendQueue {
  private queue: Uint8Array<ArrayBuffer>[] = [];
  private inFlight = 0;

  constructor(private readonly window = INPUT_WINDOW) {}

  push(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.length > 0) this.queue.push(bytes);
  }

  /** Returns the content of the next frame, or null if the queue is empty or the window is used up. */
  next(): Uint8Array<ArrayBuffer> | null {
    const first = this.queue[0];
    const available = Math.min(MAX_FRAME_BYTES, this.window - this.inFlight);
    if (!first || available <= 0) return null;
    const chunk = first.subarray(0, available);
    if (chunk.length === first.length) this.queue.shift();
    else this.queue[0] = first.subarray(chunk.length);
    this.inFlight += chunk.length;
    return chunk;
  }

  /** Opens the window by the bytes that the gateway has passed on. */
  acknowledge(bytes: number): void {
    this.inFlight = Math.max(0, this.inFlight - bytes);
  }

  /** Forgets the bytes in flight at the start of a session: the gateway does not acknowledge answers to its prompts. */
  resetInFlight(): void {
    this.inFlight = 0;
  }
}

/** The number of bytes after which the page acknowledges. The gateway's window is 128 KiB. */
export const ACK_BYTES = 16 * 1024;

/** Counts bytes that were processed and are not yet acknowledged. */
export class AckCounter {
  private bytes = 0;

  /** Adds processed bytes; returns how many to acknowledge now. */
  add(bytes: number): number {
    this.bytes += bytes;
    return this.bytes >= ACK_BYTES ? this.flush() : 0;
  }

  /** Returns the bytes that are not yet acknowledged, and resets the counter. */
  flush(): number {
    const bytes = this.bytes;
    this.bytes = 0;
    return bytes;
  }
}
