// A terminal's WebSocket: one session, from asking for it to its end.

import { readErrorMessage } from "../api/client";
import { Sftp } from "../sftp/client";
import {
  type Channel, FILES_AHEAD, FILES_WINDOW, frame, type FromGateway, heard, Input, PING_EVERY, PROTOCOL, Pulse, Shown, socketAddress, type ToGateway, unframed,
} from "./wire";

export type SessionNews = Extract<FromGateway, { type: "session" }>;
export type EndNews = Extract<FromGateway, { type: "end" }>;

/** What a session's page is told. */
export interface Listener {
  began(news: SessionNews): void;
  /** Bytes for the terminal, which calls `shown` when it has taken them in. */
  output(bytes: Uint8Array, shown: () => void): void;
  notice(text: string): void;
  ended(news: EndNews): void;
  /** There was no end, and why if that is known; `began` says whether there was a session. */
  lost(why: string | null, began: boolean): void;
}

interface Files {
  sftp: Sftp;
  input: Input;
  /** What was taken of what came, before the gateway is told. */
  shown: Shown;
}

const NORMAL = 1000;
/** To the gateway this is no tab that was closed. */
const GIVEN_UP = 4000;
/** As long the gateway asks for a code, and more: before there is a session it answers no pings. */
const PATIENCE = 120_000;
/** Nothing more was shown for so long: then the gateway is told of little as well. */
const IDLE = 50;
/** No event tells that the browser has sent something. */
const DRAIN = 10;

export class Connection {
  private readonly socket: WebSocket;
  private readonly input = new Input();
  private readonly shown = new Shown();
  private files: Files | null = null;
  /** The gateway has yet to say that the channel for files is closed, as was asked for. */
  private filesClosing = false;
  private readonly pulse = new Pulse();
  private readonly clock: number;
  private readonly since = Date.now();
  private idle = 0;
  /** Looks again whether the browser has room for more of files. */
  private draining = 0;
  private began = false;
  private opened = false;
  private over = false;

  constructor(
    private readonly address: string,
    private readonly listener: Listener,
  ) {
    this.socket = new WebSocket(socketAddress(address), [PROTOCOL]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.opened = true;
      this.flush();
    };
    this.socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => this.heard(data);
    this.socket.onclose = ({ reason }) => this.closed(reason);
    this.clock = window.setInterval(() => this.tick(), PING_EVERY);
  }

  /** Types bytes. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.over) return;
    this.input.put(bytes);
    this.flush();
  }

  /** The target's files, in a channel of the session, which is opened for them. */
  openFiles(): Sftp {
    if (this.files) return this.files.sftp;
    const input = new Input(FILES_WINDOW);
    const sftp = new Sftp((bytes) => {
      input.put(bytes);
      this.flush();
    });
    this.files = { sftp, input, shown: new Shown() };
    if (this.over) sftp.closed("");
    else if (!this.filesClosing) this.beginFiles();
    return sftp;
  }

  closeFiles(): void {
    if (!this.files || this.over) return;
    this.files.sftp.closed("");
    this.files = null;
    if (this.filesClosing) return;
    this.filesClosing = true;
    this.t({ type: "close_files" });
  }

  private beginFiles(): void {
    this.t({ type: "open_files" });
    this.flush();
  }

  private filesClosed(message: string): void {
    if (this.filesClosing) {
      this.filesClosing = false;
      if (this.files) this.beginFiles();
      return;
    }
    this.files?.sftp.closed(message);
    this.files = null;
  }

  resize(cols: number, rows: number): void {
    this.t({ type: "resize", cols, rows });
  }

  /** Leaves at once; nothing more is told. */
  leave(code = NORMAL): void {
    this.finish();
    this.socket.close(code);
  }

  private heard(data: string | ArrayBuffer): void {
    if (this.over) return;
    this.pulse.heard();
    // An answer is there because something has gone; the clock of a tab in the background is slow.
    this.pourFiles();
    if (data instanceof ArrayBuffer) {
      const frame = unframed(new Uint8Array(data));
      if (frame) this.output(...frame);
      return;
    }
    const news = heard(data);
    if (news) this.obey(news);
  }

  private output(channel: Channel, bytes: Uint8Array<ArrayBuffer>): void {
    if (channel === "shell") this.listener.output(bytes, () => this.showed(bytes.length));
    else this.heardOfFiles(bytes);
  }

  private obey(news: FromGateway): void {
    switch (news.type) {
      case "session":
        this.began = true;
        this.input.begin();
        this.flush();
        return this.listener.began(news);
      case "ack":
        (news.channel === "shell" ? this.input : this.files?.input)?.arrived(news.bytes);
        return this.flush();
      case "files_closed":
        return this.filesClosed(news.message);
      case "notice":
        return this.listener.notice(news.text);
      case "end":
        this.leave();
        return this.listener.ended(news);
    }
  }

  private flush(): void {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    for (let piece = this.input.next(); piece; piece = this.input.next()) this.socket.send(frame("shell", piece));
    this.pourFiles();
  }

  /** Gives the browser as much of files as leaves a key that is typed little to wait for. */
  private pourFiles(): void {
    window.clearTimeout(this.draining);
    if (!this.files || this.filesClosing || this.socket.readyState !== WebSocket.OPEN) return;
    while (this.socket.bufferedAmount < FILES_AHEAD) {
      const piece = this.files.input.next();
      if (!piece) return;
      this.socket.send(frame("files", piece));
    }
    this.draining = window.setTimeout(() => this.pourFiles(), DRAIN);
  }

  private heardOfFiles(bytes: Uint8Array<ArrayBuffer>): void {
    // What comes of a channel that is being closed is nobody's.
    if (!this.files || this.filesClosing) return;
    const { sftp, shown } = this.files;
    const tell = shown.add(bytes.length);
    if (tell > 0) this.t({ type: "ack", channel: "files", bytes: tell });
    sftp.heard(bytes);
  }

  private showed(bytes: number): void {
    window.clearTimeout(this.idle);
    const tell = this.shown.add(bytes);
    if (tell > 0) this.t({ type: "ack", channel: "shell", bytes: tell });
    else this.idle = window.setTimeout(() => this.t({ type: "ack", channel: "shell", bytes: this.shown.take() }), IDLE);
  }

  private tick(): void {
    const now = Date.now();
    const lost = this.began ? this.pulse.tick(now) === "lost" : now - this.since > PATIENCE;
    if (!lost) return this.began ? this.t({ type: "ping" }) : undefined;
    this.leave(GIVEN_UP);
    this.listener.lost(null, this.began);
  }

  private closed(reason: string): void {
    if (this.over) return;
    this.finish();
    if (this.opened) this.listener.lost(reason || null, this.began);
    // A page cannot read why a WebSocket was refused, but what the same address says otherwise.
    else void refusal(this.address).then((why) => this.listener.lost(why, false));
  }

  private finish(): void {
    this.over = true;
    this.files?.sftp.closed("");
    window.clearInterval(this.clock);
    window.clearTimeout(this.idle);
    window.clearTimeout(this.draining);
  }

  private t(what: ToGateway): void {
    if (!this.over && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(what));
  }
}

/** It says that all is well but for the WebSocket. */
const UPGRADE_REQUIRED = 426;

async function refusal(address: string): Promise<string | null> {
  try {
    const response = await fetch(address, { credentials: "include" });
    if (response.status === UPGRADE_REQUIRED) return null;
    return (await readErrorMessage(response)) ?? `${response.status} ${response.statusText}`.trim();
  } catch {
    return null;
  }
}
