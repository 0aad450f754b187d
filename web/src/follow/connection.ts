// The WebSocket of a session that is followed: connects again where it was lost, until there is nothing more to follow.

import { ApiError, request } from "../api/client";
import { backoffDelay } from "../feed/backoff";
import { PING_EVERY, Pulse, socketAddress } from "../terminal/wire";
import { type Output, output, path, PING, PROTOCOL, type Said, said } from "./wire";

export interface Listener {
  said(said: Said): void;
  output(output: Output): void;
  /** It is tried again; `why` where anybody told. */
  lost(why: string | null): void;
  /** It is not. */
  refused(refusal: ApiError): void;
}

const NORMAL = 1000;

export class Connection {
  private readonly path: string;
  private socket: WebSocket | null = null;
  private pulse = new Pulse();
  private clock = 0;
  private again = 0;
  private failed = 0;
  private left = false;

  constructor(session: string, private readonly listener: Listener) {
    this.path = path(session);
    this.open();
  }

  /** Leaves; nothing more is told. */
  leave(): void {
    this.left = true;
    window.clearTimeout(this.again);
    this.drop();
  }

  private open(): void {
    const socket = new WebSocket(socketAddress(location.origin + this.path), [PROTOCOL]);
    socket.binaryType = "arraybuffer";
    let opened = false;
    socket.onopen = () => {
      opened = true;
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (this.socket === socket) this.heard(data);
    };
    socket.onclose = ({ reason }) => {
      if (this.socket !== socket) return;
      this.drop();
      if (opened) this.lost(reason || null);
      else void this.asked();
    };
    this.socket = socket;
    this.pulse = new Pulse();
    this.clock = window.setInterval(() => this.tick(), PING_EVERY);
  }

  private heard(data: string | ArrayBuffer): void {
    this.pulse.heard();
    if (data instanceof ArrayBuffer) {
      const found = output(data);
      if (found) this.listener.output(found);
      return;
    }
    const news = said(data);
    // Who is followed reads of each time that it begins: only what has lasted may be tried again at once.
    if (news?.type === "pong") this.failed = 0;
    if (news?.type === "end") this.leave();
    if (news) this.listener.said(news);
  }

  private tick(): void {
    if (this.pulse.tick(Date.now()) === "lost") {
      this.drop();
      this.lost(null);
    } else if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(PING);
  }

  /** A page cannot read why a WebSocket was refused, but what the same address says otherwise. */
  private async asked(): Promise<void> {
    const failure = await request(this.path).then(() => null, (error: unknown) => error);
    if (this.left) return;
    const refusal = failure instanceof ApiError ? failure : null;
    if (refusal && isFinal(refusal.status)) this.listener.refused(refusal);
    else this.lost(refusal && refusal.status !== UPGRADE_REQUIRED ? refusal.message : null);
  }

  private lost(why: string | null): void {
    this.again = window.setTimeout(() => this.open(), backoffDelay(this.failed++, Math.random()));
    this.listener.lost(why);
  }

  private drop(): void {
    window.clearInterval(this.clock);
    const socket = this.socket;
    this.socket = null;
    socket?.close(NORMAL);
  }
}

/** It says that all is well but for the WebSocket. */
const UPGRADE_REQUIRED = 426;

/** Whether it would be refused again. */
function isFinal(status: number): boolean {
  return [401, 403, 404, 409].includes(status);
}
