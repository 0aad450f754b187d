// The page of the web terminal, with its search box and files panel.

import { type ReactNode, useEffect, useRef, useState } from "react";
import type { CurrentUser } from "../api/types";
import { ScreenReaderButton } from "../components/ScreenReaderButton";
import { useScreenReaderMode } from "../hooks/useScreenReaderMode";
import { usePartTranslation } from "../i18n";
import { sessionPagePath } from "../routes";
import { FilesPanel } from "./FilesPanel";
import { messages, type TerminalTranslate } from "./messages";
import { gatewayOrigin } from "./protocol";
import { SearchBox } from "./SearchBox";
import "./style.css";
import { type Phase, type TerminalAddress, TerminalSession } from "./terminalSession";

/** The state of the files panel. A hidden panel continues its transfers. */
type PanelState = "closed" | "open" | "hidden";

export default function TerminalPart({ target, login, me }: { target: string; login: string | null; me: CurrentUser }): ReactNode {
  const t = usePartTranslation(messages);
  const origin = gatewayOrigin(me.terminal_origin, location.href);
  const [phase, setPhase] = useState<Phase>({ state: "connecting" });
  const [searchCount, setSearchCount] = useState(0);
  const [filesPanel, setFilesPanel] = useState<PanelState>("closed");
  const openSearch = (): void => setSearchCount((count) => count + 1);
  const [host, terminalSession] = useTerminalSession({ origin, target, login }, t, setPhase, openSearch);
  const [screenReader, setScreenReader] = useScreenReaderMode();
  useEffect(() => {
    if (terminalSession) terminalSession.screen.screenReaderMode = screenReader;
  }, [terminalSession, screenReader]);
  useLeaveGuard(terminalSession, phase.state === "live");
  const session = phase.state === "connecting" ? null : phase.session;
  const isLive = phase.state === "live";
  const focusScreen = (): void => terminalSession?.screen.focus();
  useEffect(() => {
    if (phase.state === "connecting") setFilesPanel("closed");
  }, [phase.state]);
  useEffect(() => {
    if (filesPanel === "closed") terminalSession?.closeFiles();
  }, [terminalSession, filesPanel]);
  return (
    <main className="page shell">
      <div className="shell-head">
        <h1>{session ? `${session.login}@${session.target}` : login ? `${login}@${target}` : target}</h1>
        <PhaseText phase={phase} t={t} />
        {session && <a className="shell-session" href={sessionPagePath(session.name)} target="_blank" rel="noopener" title={t("sessionLink", session.name)}>{session.name}</a>}
        <span className="fill" />
        {phase.state === "ended" && <button type="button" className="main" onClick={() => terminalSession?.start()}>{t("newSession")}</button>}
        <button type="button" onClick={openSearch} title="Ctrl+Shift+F">{t("search")}</button>
        {session?.files && <button type="button" aria-expanded={filesPanel === "open"} disabled={!isLive} onClick={() => setFilesPanel(filesPanel === "open" ? "hidden" : "open")}>{t("files")}</button>}
        <ScreenReaderButton on={screenReader} onChange={setScreenReader} />
      </div>
      <div className="shell-body">
        <div className="shell-screen">
          {terminalSession && searchCount > 0 && <SearchBox key={searchCount} screen={terminalSession.screen} t={t} onClose={() => { setSearchCount(0); focusScreen(); }} />}
          <div className="shell-host" ref={host} role="group" aria-label={t("label", target)} />
        </div>
        {terminalSession && session && filesPanel !== "closed" && <FilesPanel key={session.id} target={session.target} open={() => terminalSession.openFiles()} t={t} hidden={filesPanel === "hidden"} onClose={(isBusy) => { setFilesPanel(isBusy ? "hidden" : "closed"); focusScreen(); }} />}
      </div>
    </main>
  );
}

function PhaseText({ phase, t }: { phase: Phase; t: TerminalTranslate }): ReactNode {
  const text = phase.state === "ended" ? t("endedState", phase.reason) : t(phase.state);
  return <span className={`shell-state ${phase.state}`} role="status" data-testid="state">{text}</span>;
}

/** Opens a terminal in the element of the returned ref. */
function useTerminalSession(address: TerminalAddress, t: TerminalTranslate, onPhase: (phase: Phase) => void, onSearch: () => void) {
  const host = useRef<HTMLDivElement>(null);
  const [session, setSession] = useState<TerminalSession | null>(null);
  const latestTranslate = useRef(t);
  useEffect(() => {
    latestTranslate.current = t;
  });
  const { origin, target, login } = address;
  useEffect(() => {
    if (!host.current) return;
    const session = new TerminalSession(host.current, { origin, target, login }, () => latestTranslate.current, { onPhase, onSearch });
    setSession(session);
    return () => session.close();
    // The callbacks behave the same in each render.
  }, [origin, target, login]);
  return [host, session] as const;
}

/** Asks for confirmation before the tab is closed during a session. Ends the session at once when the tab is closed. */
function useLeaveGuard(session: TerminalSession | null, isLive: boolean): void {
  useEffect(() => {
    const onPageHide = (): void => session?.leavePage();
    window.addEventListener("pagehide", onPageHide);
    return () => window.removeEventListener("pagehide", onPageHide);
  }, [session]);
  useEffect(() => {
    if (!isLive) return;
    const confirm = (event: BeforeUnloadEvent): void => event.preventDefault();
    window.addEventListener("beforeunload", confirm);
    return () => window.removeEventListener("beforeunload", confirm);
  }, [isLive]);
}

