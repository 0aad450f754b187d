// The WebSocket that observes a session. Reconnects after a loss, until the session ends or the console refuses.

import { ApiError, hasStatus, request } from "../api/client";
import { backoffDelay } from "../websocket/backoff";
import { Keepalive, PING_INTERVAL_MS } from "../websocket/keepalive";
import { CLOSE_NORMAL, parseMessage, toWebSocketUrl, UPGRADE_REQUIRED } from "../websocket/messages";
import { type ObserveMessage, observePath, parseOutput, PING_MESSAGE, SUBPROTOCOL, type TerminalOutput } from "./protocol";

interface ObserveListener {
  onMessage(message: ObserveMessage): void;
  onOutput(output: TerminalOutput): void;
  /** The connection was lost and the client reconnects. The reason is null if it is unknown. */
  onLost(reason: string | null): void;
  /** The console refuses, and the client gives up. */
  onRefused(error: ApiError): void;
}

/** The statuses after which the console would refuse the same request again. */
const FINAL_STATUSES = [401, 403, 404, 409];

export class ObserveClient {
  private readonly path: string;
  private socket: WebSocket | null = null;
  private keepalive = new Keepalive();
  private pingTimer = 0;
  private reconnectTimer = 0;
  private failures = 0;
  private isClosed = false;

  constructor(session: string, private readonly listener: ObserveListener) {
    this.path = observePath(session);
    this.open();
  }

  /** Closes the connection without calling the listener. */
  close(): void {
    this.isClosed = true;
    window.clearTimeout(this.reconnectTimer);
    this.closeSocket();
  }

  private open(): void {
    const socket = new WebSocket(toWebSocketUrl(location.origin + this.path), [SUBPROTOCOL]);
    socket.binaryType = "arraybuffer";
    let opened = false;
    socket.onopen = () => {
      opened = true;
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (this.socket === socket) this.receive(data);
    };
    socket.onclose = ({ reason }) => {
      if (this.socket !== socket) return;
      this.closeSocket();
      if (opened) this.reconnect(reason || null);
      else void this.explainRefusal();
    };
    this.socket = socket;
    this.keepalive = new Keepalive();
    this.pingTimer = window.setInterval(() => this.tick(), PING_INTERVAL_MS);
  }

  private receive(data: string | ArrayBuffer): void {
    this.keepalive.received();
    if (data instanceof ArrayBuffer) {
      const output = parseOutput(data);
      if (output) this.listener.onOutput(output);
      return;
    }
    const message = parseMessage<ObserveMessage>(data);
    // The observed user is notified of each connection, so only a connection that has lasted resets the backoff.
    if (message?.type === "pong") this.failures = 0;
    if (message?.type === "end") this.close();
    if (message) this.listener.onMessage(message);
  }

  private tick(): void {
    if (this.keepalive.tick(Date.now()) === "lost") {
      this.closeSocket();
      this.reconnect(null);
    } else if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(PING_MESSAGE);
  }

  /** Finds out why the WebSocket was refused. Browsers hide the reason, but a plain request to the same URL returns it. */
  private async explainRefusal(): Promise<void> {
    const error: unknown = await request(this.path).then(() => null, (error: unknown) => error);
    if (this.isClosed) return;
    const refusal = error instanceof ApiError ? error : null;
    if (refusal && hasStatus(refusal, ...FINAL_STATUSES)) this.listener.onRefused(refusal);
    else this.reconnect(refusal && refusal.status !== UPGRADE_REQUIRED ? refusal.message : null);
  }

  private reconnect(reason: string | null): void {
    this.reconnectTimer = window.setTimeout(() => this.open(), backoffDelay(this.failures++, Math.random()));
    this.listener.onLost(reason);
  }

  private closeSocket(): void {
    window.clearInterval(this.pingTimer);
    const socket = this.socket;
    this.socket = null;
    socket?.close(CLOSE_NORMAL);
  }
}
