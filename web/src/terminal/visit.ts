// A person at a terminal: one session after the other on the same screen.

import { Sftp } from "../sftp/client";
import { Connection, type EndNews, type SessionNews } from "./connection";
import { deed } from "./keys";
import type { TerminalTranslate } from "./messages";
import { Screen } from "./screen";
import { address } from "./wire";

export type Phase =
  | { state: "connecting" }
  | { state: "live"; session: SessionNews }
  /** `why` is the page's word for it. */
  | { state: "over"; session: SessionNews | null; why: string };

export interface Where {
  base: string;
  target: string;
  login: string | null;
}

export interface Told {
  phase(phase: Phase): void;
  search(): void;
}

export class Visit {
  readonly screen: Screen;
  private connection: Connection | null = null;
  private session: SessionNews | null = null;

  /** `t` is asked whenever something is said: the language may change. */
  constructor(
    host: HTMLElement,
    private readonly where: Where,
    private readonly t: () => TerminalTranslate,
    private readonly told: Told,
  ) {
    const user = {
      typed: (bytes: Uint8Array<ArrayBuffer>) => this.connection?.send(bytes),
      resized: (cols: number, rows: number) => this.connection?.resize(cols, rows),
      pressed: (event: KeyboardEvent) => this.pressed(event),
    };
    this.screen = new Screen(host, user, t()("label", where.target));
    this.start();
  }

  /** Starts a session, where there is none. */
  start(): void {
    if (this.connection) return;
    this.session = null;
    this.told.phase({ state: "connecting" });
    this.connection = new Connection(address(this.where.base, { ...this.where, ...this.screen.size }), {
      began: (session) => {
        this.session = session;
        this.told.phase({ state: "live", session });
      },
      output: (bytes, shown) => this.screen.write(bytes, shown),
      notice: (text) => this.screen.lines("quiet", text),
      ended: (news) => this.ended(news),
      lost: (why, began) => this.over(this.t()(began ? "lost" : "unreachable"), why),
    });
    this.screen.focus();
  }

  /** The target's files, in a channel of the session's own. */
  openFiles(): Sftp {
    return this.connection?.openFiles() ?? closedSftp();
  }

  closeFiles(): void {
    this.connection?.closeFiles();
  }

  /** The page goes away, or is shown again later without its session. */
  hide(): void {
    if (!this.connection) return;
    this.connection.leave();
    this.over(this.t()("left"), null);
  }

  /** Leaves for good. */
  close(): void {
    this.connection?.leave();
    this.connection = null;
    this.screen.close();
  }

  private ended({ status, reason, message, exitCode }: EndNews): void {
    const t = this.t();
    if (status === "refused") {
      this.over(t("refused"), message);
      return;
    }
    const exit = exitCode === undefined ? "" : `, ${t("exit", exitCode)}`;
    this.over(t.reason(reason), message, t("ended", t.reason(reason) + exit));
  }

  private over(why: string, message: string | null, line = why): void {
    this.screen.leave(() => {
      this.connection = null;
      this.screen.lines("loud", line, ...(message ? [message] : []));
      this.screen.lines("loud", this.t()("again"));
      this.told.phase({ state: "over", session: this.session, why });
    });
  }

  private pressed(event: KeyboardEvent): boolean {
    const what = deed(event, { selected: this.screen.selection !== "", over: this.connection === null });
    if (what === "send") return true;
    if (what !== "browser") event.preventDefault();
    if (what === "copy") this.screen.copy();
    if (what === "search") this.told.search();
    if (what === "again") this.start();
    return false;
  }
}

/** What answers whoever asks for files when there is no session. */
function closedSftp(): Sftp {
  const sftp = new Sftp(() => undefined);
  sftp.closed("");
  return sftp;
}
