// The WebSocket of a web terminal: one session, from the request to its end.

import { readErrorMessage } from "../api/client";
import { SftpClient } from "../sftp/client";
import { Keepalive, PING_INTERVAL_MS } from "../websocket/keepalive";
import { CLOSE_NORMAL, parseMessage, toWebSocketUrl, UPGRADE_REQUIRED } from "../websocket/messages";
import { AckCounter, FILES_WINDOW, MAX_BUFFERED_BYTES, SendQueue } from "./flowControl";
import { type Channel, type ClientMessage, decodeFrame, encodeFrame, type GatewayMessage, SUBPROTOCOL } from "./protocol";

export type SessionMessage = Extract<GatewayMessage, { type: "session" }>;
export type EndMessage = Extract<GatewayMessage, { type: "end" }>;

interface TerminalListener {
  onSession(message: SessionMessage): void;
  /** Takes output for the terminal. The listener calls `shown` once the terminal has processed the output. */
  onOutput(bytes: Uint8Array, shown: () => void): void;
  onNotice(text: string): void;
  onEnd(message: EndMessage): void;
  /** The connection was lost without an end. The reason is null if it is unknown. */
  onLost(reason: string | null, hadSession: boolean): void;
}

interface FilesChannel {
  sftp: SftpClient;
  sendQueue: SendQueue;
  acks: AckCounter;
}

/** The close code that tells the gateway that it did not answer in time. It is a private code; a closed tab has another one. */
const CLOSE_UNRESPONSIVE = 4000;
/**
 * How long the page waits for the start of the session. It is longer than the gateway waits for a one-time code. The gateway
 * answers no pings before the session starts.
 */
const SESSION_START_TIMEOUT_MS = 120_000;
/** After this pause in the output, even a few bytes are acknowledged. */
const ACK_DELAY_MS = 50;
/** The interval at which `bufferedAmount` is polled, because no event reports that it has shrunk. */
const DRAIN_POLL_MS = 10;

export class TerminalClient {
  private readonly socket: WebSocket;
  private readonly sendQueue = new SendQueue();
  private readonly acks = new AckCounter();
  private files: FilesChannel | null = null;
  /** Whether the page has closed the files channel and the gateway has not confirmed this yet. */
  private filesClosing = false;
  private readonly keepalive = new Keepalive();
  private readonly pingTimer: number;
  private readonly openedAt = Date.now();
  private ackTimer = 0;
  private drainTimer = 0;
  private hasSession = false;
  private opened = false;
  private isClosed = false;

  constructor(
    private readonly url: string,
    private readonly listener: TerminalListener,
  ) {
    this.socket = new WebSocket(toWebSocketUrl(url), [SUBPROTOCOL]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.opened = true;
      this.flush();
    };
    this.socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => this.receive(data);
    this.socket.onclose = ({ reason }) => this.onSocketClose(reason);
    this.pingTimer = window.setInterval(() => this.tick(), PING_INTERVAL_MS);
  }

  /** Sends typed bytes. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.isClosed) return;
    this.sendQueue.push(bytes);
    this.flush();
  }

  /** Returns the SFTP client of the session. The first call opens its channel. */
  openFiles(): SftpClient {
    if (this.files) return this.files.sftp;
    const sendQueue = new SendQueue(FILES_WINDOW);
    const sftp = new SftpClient((bytes) => {
      sendQueue.push(bytes);
      this.flush();
    });
    this.files = { sftp, sendQueue, acks: new AckCounter() };
    if (this.isClosed) sftp.disconnected("");
    else if (!this.filesClosing) this.sendOpenFiles();
    return sftp;
  }

  closeFiles(): void {
    if (!this.files || this.isClosed) return;
    this.files.sftp.disconnected("");
    this.files = null;
    if (this.filesClosing) return;
    this.filesClosing = true;
    this.sendMessage({ type: "close_files" });
  }

  private sendOpenFiles(): void {
    this.sendMessage({ type: "open_files" });
    this.flush();
  }

  private onFilesClosed(message: string): void {
    if (this.filesClosing) {
      this.filesClosing = false;
      if (this.files) this.sendOpenFiles();
      return;
    }
    this.files?.sftp.disconnected(message);
    this.files = null;
  }

  resize(cols: number, rows: number): void {
    this.sendMessage({ type: "resize", cols, rows });
  }

  /** Closes the connection at once, without calling the listener. */
  close(code = CLOSE_NORMAL): void {
    this.cleanUp();
    this.socket.close(code);
  }

  private receive(data: string | ArrayBuffer): void {
    if (this.isClosed) return;
    this.keepalive.received();
    // A message means that data has been sent. The drain timer may be slow in a background tab.
    this.sendFiles();
    if (data instanceof ArrayBuffer) {
      const frame = decodeFrame(new Uint8Array(data));
      if (frame) this.receiveFrame(...frame);
      return;
    }
    const message = parseMessage<GatewayMessage>(data);
    if (message) this.handle(message);
  }

  private receiveFrame(channel: Channel, bytes: Uint8Array<ArrayBuffer>): void {
    if (channel === "shell") this.listener.onOutput(bytes, () => this.acknowledge(bytes.length));
    else this.receiveFiles(bytes);
  }

  private handle(message: GatewayMessage): void {
    switch (message.type) {
      case "session":
        this.hasSession = true;
        this.sendQueue.resetInFlight();
        this.flush();
        return this.listener.onSession(message);
      case "ack":
        (message.channel === "shell" ? this.sendQueue : this.files?.sendQueue)?.acknowledge(message.bytes);
        return this.flush();
      case "files_closed":
        return this.onFilesClosed(message.message);
      case "notice":
        return this.listener.onNotice(message.text);
      case "end":
        this.close();
        return this.listener.onEnd(message);
    }
  }

  private flush(): void {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    for (let chunk = this.sendQueue.next(); chunk; chunk = this.sendQueue.next()) this.socket.send(encodeFrame("shell", chunk));
    this.sendFiles();
  }

  /** Passes file data to the browser while little data is buffered, so that a typed key need not wait long. */
  private sendFiles(): void {
    window.clearTimeout(this.drainTimer);
    if (!this.files || this.filesClosing || this.socket.readyState !== WebSocket.OPEN) return;
    while (this.socket.bufferedAmount < MAX_BUFFERED_BYTES) {
      const chunk = this.files.sendQueue.next();
      if (!chunk) return;
      this.socket.send(encodeFrame("files", chunk));
    }
    this.drainTimer = window.setTimeout(() => this.sendFiles(), DRAIN_POLL_MS);
  }

  private receiveFiles(bytes: Uint8Array<ArrayBuffer>): void {
    // Drop late data of a channel that is closing.
    if (!this.files || this.filesClosing) return;
    const { sftp, acks } = this.files;
    const due = acks.add(bytes.length);
    if (due > 0) this.sendMessage({ type: "ack", channel: "files", bytes: due });
    sftp.receive(bytes);
  }

  private acknowledge(bytes: number): void {
    window.clearTimeout(this.ackTimer);
    const due = this.acks.add(bytes);
    if (due > 0) this.sendMessage({ type: "ack", channel: "shell", bytes: due });
    else this.ackTimer = window.setTimeout(() => this.sendMessage({ type: "ack", channel: "shell", bytes: this.acks.flush() }), ACK_DELAY_MS);
  }

  private tick(): void {
    const now = Date.now();
    const lost = this.hasSession ? this.keepalive.tick(now) === "lost" : now - this.openedAt > SESSION_START_TIMEOUT_MS;
    if (!lost) return this.hasSession ? this.sendMessage({ type: "ping" }) : undefined;
    this.close(CLOSE_UNRESPONSIVE);
    this.listener.onLost(null, this.hasSession);
  }

  private onSocketClose(reason: string): void {
    if (this.isClosed) return;
    this.cleanUp();
    if (this.opened) this.listener.onLost(reason || null, this.hasSession);
    // Browsers hide why a WebSocket was refused. A plain request to the same URL returns the reason.
    else void refusalMessage(this.url).then((message) => this.listener.onLost(message, false));
  }

  private cleanUp(): void {
    this.isClosed = true;
    this.files?.sftp.disconnected("");
    window.clearInterval(this.pingTimer);
    window.clearTimeout(this.ackTimer);
    window.clearTimeout(this.drainTimer);
  }

  private sendMessage(message: ClientMessage): void {
    if (!this.isClosed && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

/** Returns why the gateway refuses the WebSocket, or null if it does not say. */
async function refusalMessage(url: string): Promise<string | null> {
  try {
    const response = await fetch(url, { credentials: "include" });
    if (response.status === UPGRADE_REQUIRED) return null;
    return (await readErrorMessage(response)) ?? `${response.status} ${response.statusText}`.trim();
  } catch {
    return null;
  }
}
