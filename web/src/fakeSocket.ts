// A WebSocket for the tests.

/** Records what a client sends. Tests call the socket's handlers in place of the other side. */
export class FakeSocket {
  static all: FakeSocket[] = [];
  static readonly OPEN = 1;
  readyState = FakeSocket.OPEN;
  /** Bytes that the browser has not sent yet. The fake browser sends everything at once unless a test makes it slow. */
  bufferedAmount = 0;
  slow = false;
  closed = false;
  /** The text messages. */
  sent: string[] = [];
  /** The binary messages. */
  frames: Uint8Array[] = [];
  onopen = (): void => {};
  onmessage = (_: { data: string | ArrayBuffer }): void => {};
  onclose = (_: { code?: number; reason: string }): void => {};
  constructor(
    readonly address: string,
    readonly protocols: string[],
  ) {
    FakeSocket.all.push(this);
  }
  static get last(): FakeSocket {
    return FakeSocket.all.at(-1)!;
  }
  close(): void {
    this.closed = true;
  }
  send(what: string | Uint8Array): void {
    if (typeof what === "string") return void this.sent.push(what);
    this.frames.push(what);
    if (this.slow) this.bufferedAmount += what.length;
  }
  says(what: object): void {
    this.onmessage({ data: JSON.stringify(what) });
  }
}
