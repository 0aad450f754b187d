// The live feed's WebSocket: connects again whenever it must, and hands what it says to feed.ts in batches.

import { backoff } from "./backoff";
import { Batch } from "./batch";
import { heed, type Message, NOTHING, type Online } from "./feed";

/** How long nothing may come: the console sends a sign of life every 10 s. */
const SILENCE = 25_000;
/** The console's close code for who may see it no longer. */
const REFUSED = 1008;
/** The console tells of no more at a time, and no more often. */
const MOST_WATCHED = 200;
const WATCH_PAUSE = 1000;

export class Feed {
  /** Whose sessions the last snapshot had. */
  private sight: string | null | undefined;
  private online = NOTHING;
  private refused: string | null = null;
  private listeners = new Set<() => void>();
  private socket: WebSocket | null = null;
  /** How many attempts there were since the console last said something. */
  private failed = 0;
  private silence = 0;
  private again = 0;
  private watched: readonly string[] = [];
  private watching = 0;
  private batch = new Batch<Message>((messages) => this.draw(messages));

  /** `recheck` is to find out who is signed in, and what they may. */
  constructor(private readonly recheck: () => void = () => {}) {}

  /** What is online. */
  snapshot = (): Online => this.online;

  /** Why the console lets nobody see it, if so. */
  refusal = (): string | null => this.refused;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Asks for what these sessions do, which are on the screen. */
  watch(names: readonly string[]): void {
    if (names.join() === this.watched.join()) return;
    this.watched = names.slice(0, MOST_WATCHED);
    this.watching ||= window.setTimeout(this.sayWatched, WATCH_PAUSE);
  }

  private sayWatched = (): void => {
    this.watching = 0;
    if (this.online.live && this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ type: "watch", names: this.watched }));
    }
  };

  open(): void {
    window.clearTimeout(this.again);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/feed`, ["feed.bastion.dev"]);
    this.socket = socket;
    this.batch.open();
    this.expectLife();
    let opened = false;
    socket.onopen = () => {
      opened = true;
    };
    socket.onmessage = ({ data }) => {
      if (this.socket === socket) this.take(JSON.parse(String(data)) as Message);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.socket !== socket) return;
      // Browsers do not tell why there is no WebSocket: it may be that nobody is signed in any more.
      if (!opened) this.recheck();
      this.lost(code === REFUSED ? reason : null);
    };
  }

  /** What was online stays, as what was so then. */
  close(): void {
    window.clearTimeout(this.again);
    window.clearTimeout(this.silence);
    this.batch.close();
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000);
    this.online = { ...this.online, live: false, missingParts: 0, parts: [] };
    this.tell();
  }

  private take(message: Message): void {
    this.expectLife();
    this.failed = 0;
    if (message.type === "snapshot") this.heedSight(message.data.subject);
    this.batch.add(message);
  }

  /** Whoever sees others than before may do other things too. */
  private heedSight(subject: string | null): void {
    if (this.sight !== undefined && subject !== this.sight) this.recheck();
    this.sight = subject;
  }

  private draw(messages: readonly Message[]): void {
    const next = heed(this.online, messages, Date.now());
    if (next === null) {
      this.lost(null);
      return;
    }
    const fresh = next.live && !this.online.live;
    this.online = next;
    this.refused = null;
    if (fresh) this.sayWatched();
    this.tell();
  }

  private expectLife(): void {
    window.clearTimeout(this.silence);
    this.silence = window.setTimeout(() => this.lost(null), SILENCE);
  }

  private lost(refused: string | null): void {
    this.refused = refused;
    this.close();
    this.again = window.setTimeout(() => this.open(), backoff(this.failed++, Math.random()));
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}
