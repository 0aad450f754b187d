// The WebSocket of the live feed. Reconnects after a loss, and applies messages to the state in batches.

import { backoffDelay } from "../websocket/backoff";
import { CLOSE_NORMAL, CLOSE_POLICY_VIOLATION } from "../websocket/messages";
import { applyMessages, EMPTY_FEED, type FeedMessage, type FeedState } from "./feedState";
import { FrameBatcher } from "./frameBatcher";

/** Silence after which the connection counts as lost. The console sends a heartbeat every 10 s. */
const SILENCE_TIMEOUT_MS = 25_000;
/** The console's limits: the most names in one `watch` message, and the shortest interval between two messages. */
const MAX_WATCHED = 200;
const WATCH_DELAY_MS = 1000;

export class FeedClient {
  /** The subject of the last snapshot: undefined before the first, null if it had the sessions of all users. */
  private lastSubject: string | null | undefined;
  private state = EMPTY_FEED;
  private refusalReason: string | null = null;
  private listeners = new Set<() => void>();
  private socket: WebSocket | null = null;
  /** Failed attempts since the last message. */
  private failures = 0;
  private silenceTimer = 0;
  private reconnectTimer = 0;
  private watched: readonly string[] = [];
  private watchTimer = 0;
  private batcher = new FrameBatcher<FeedMessage>((messages) => this.apply(messages));

  /** `recheck` asks the console again who is signed in and what they may do. */
  constructor(private readonly recheck: () => void = () => {}) {}

  snapshot = (): FeedState => this.state;

  /** Returns the reason why the console refuses the feed, or null. */
  refusal = (): string | null => this.refusalReason;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Requests the activity of the sessions on the screen. */
  watch(names: readonly string[]): void {
    if (names.join() === this.watched.join()) return;
    this.watched = names.slice(0, MAX_WATCHED);
    this.watchTimer ||= window.setTimeout(this.sendWatch, WATCH_DELAY_MS);
  }

  private sendWatch = (): void => {
    this.watchTimer = 0;
    if (this.state.live && this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ type: "watch", names: this.watched }));
    }
  };

  open(): void {
    window.clearTimeout(this.reconnectTimer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/feed`, ["feed.bastion.dev"]);
    this.socket = socket;
    this.batcher.open();
    this.restartSilenceTimer();
    let opened = false;
    socket.onopen = () => {
      opened = true;
    };
    socket.onmessage = ({ data }) => {
      if (this.socket === socket) this.receive(JSON.parse(String(data)) as FeedMessage);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.socket !== socket) return;
      // Browsers hide why a WebSocket was refused: the sign-in may have expired.
      if (!opened) this.recheck();
      // The console closes with a policy violation when the user may no longer see the feed.
      this.reconnect(code === CLOSE_POLICY_VIOLATION ? reason : null);
    };
  }

  /** Closes the connection. Keeps the sessions, and marks them as not live. */
  close(): void {
    window.clearTimeout(this.reconnectTimer);
    window.clearTimeout(this.silenceTimer);
    this.batcher.close();
    const socket = this.socket;
    this.socket = null;
    socket?.close(CLOSE_NORMAL);
    this.state = { ...this.state, live: false, missingSnapshotParts: 0, snapshotParts: [] };
    this.notify();
  }

  private receive(message: FeedMessage): void {
    this.restartSilenceTimer();
    this.failures = 0;
    if (message.type === "snapshot") this.checkSubject(message.data.subject);
    this.batcher.add(message);
  }

  /** Rechecks the sign-in if the snapshot has another subject, which means that the user's permissions have changed. */
  private checkSubject(subject: string | null): void {
    if (this.lastSubject !== undefined && subject !== this.lastSubject) this.recheck();
    this.lastSubject = subject;
  }

  private apply(messages: readonly FeedMessage[]): void {
    const next = applyMessages(this.state, messages, Date.now());
    if (next === null) {
      this.reconnect(null);
      return;
    }
    const becameLive = next.live && !this.state.live;
    this.state = next;
    this.refusalReason = null;
    if (becameLive) this.sendWatch();
    this.notify();
  }

  private restartSilenceTimer(): void {
    window.clearTimeout(this.silenceTimer);
    this.silenceTimer = window.setTimeout(() => this.reconnect(null), SILENCE_TIMEOUT_MS);
  }

  private reconnect(refusalReason: string | null): void {
    this.refusalReason = refusalReason;
    this.close();
    this.reconnectTimer = window.setTimeout(() => this.open(), backoffDelay(this.failures++, Math.random()));
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }
}
