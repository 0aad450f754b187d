// A web terminal: sessions on one screen, one after the other.

import { SftpClient } from "../sftp/client";
import { keyAction } from "./keys";
import type { TerminalTranslate } from "./messages";
import { connectUrl } from "./protocol";
import { type EndMessage, type SessionMessage, TerminalClient } from "./terminalClient";
import { TerminalScreen } from "./terminalScreen";

export type Phase =
  | { state: "connecting" }
  | { state: "live"; session: SessionMessage }
  /** `reason` is a text for the user. */
  | { state: "ended"; session: SessionMessage | null; reason: string };

/** The gateway's origin, the target, and the login. */
export interface TerminalAddress {
  origin: string;
  target: string;
  login: string | null;
}

interface SessionListener {
  onPhase(phase: Phase): void;
  onSearch(): void;
}

export class TerminalSession {
  readonly screen: TerminalScreen;
  private client: TerminalClient | null = null;
  private session: SessionMessage | null = null;

  /** `translate` returns the messages of the current language, which may change. */
  constructor(
    host: HTMLElement,
    private readonly address: TerminalAddress,
    private readonly translate: () => TerminalTranslate,
    private readonly listener: SessionListener,
  ) {
    const screenListener = {
      onInput: (bytes: Uint8Array<ArrayBuffer>) => this.client?.send(bytes),
      onResize: (cols: number, rows: number) => this.client?.resize(cols, rows),
      onKey: (event: KeyboardEvent) => this.onKey(event),
    };
    this.screen = new TerminalScreen(host, screenListener, translate()("label", address.target));
    this.start();
  }

  /** Starts a session unless one is running. */
  start(): void {
    if (this.client) return;
    this.session = null;
    this.listener.onPhase({ state: "connecting" });
    this.client = new TerminalClient(connectUrl(this.address.origin, { ...this.address, ...this.screen.size }), {
      onSession: (session) => {
        this.session = session;
        this.listener.onPhase({ state: "live", session });
      },
      onOutput: (bytes, shown) => this.screen.write(bytes, shown),
      onNotice: (text) => this.screen.writeLines("quiet", text),
      onEnd: (message) => this.onEnd(message),
      onLost: (reason, hadSession) => this.end(this.translate()(hadSession ? "lost" : "unreachable"), reason),
    });
    this.screen.focus();
  }

  /** Returns the SFTP client of the session. */
  openFiles(): SftpClient {
    return this.client?.openFiles() ?? disconnectedSftp();
  }

  closeFiles(): void {
    this.client?.closeFiles();
  }

  /** Ends the session because the page is being left. The browser may show the page again later. */
  leavePage(): void {
    if (!this.client) return;
    this.client.close();
    this.end(this.translate()("left"), null);
  }

  /** Ends the session and removes the screen. */
  close(): void {
    this.client?.close();
    this.client = null;
    this.screen.close();
  }

  private onEnd({ status, reason, message, exitCode }: EndMessage): void {
    const t = this.translate();
    if (status === "refused") {
      this.end(t("refused"), message);
      return;
    }
    const exit = exitCode === undefined ? "" : `, ${t("exit", exitCode)}`;
    this.end(t.reason(reason), message, t("ended", t.reason(reason) + exit));
  }

  private end(reason: string, message: string | null, line = reason): void {
    this.screen.resetModes(() => {
      this.client = null;
      this.screen.writeLines("loud", line, ...(message ? [message] : []));
      this.screen.writeLines("loud", this.translate()("again"));
      this.listener.onPhase({ state: "ended", session: this.session, reason });
    });
  }

  private onKey(event: KeyboardEvent): boolean {
    const action = keyAction(event, { hasSelection: this.screen.selection !== "", isEnded: this.client === null });
    if (action === "send") return true;
    if (action !== "browser") event.preventDefault();
    if (action === "copy") this.screen.copy();
    if (action === "search") this.listener.onSearch();
    if (action === "restart") this.start();
    return false;
  }
}

/** Returns an SFTP client without a session, whose requests fail. */
function disconnectedSftp(): SftpClient {
  const sftp = new SftpClient(() => undefined);
  sftp.disconnected("");
  return sftp;
}
