// The web terminal: a shell on a target, in the page.

import { type ReactNode, useEffect, useRef, useState } from "react";
import type { CurrentUser } from "../api/types";
import { usePartTranslation } from "../i18n";
import { Files } from "./Files";
import { messages, type TerminalTranslate } from "./messages";
import { Search } from "./Search";
import "./style.css";
import { type Phase, Visit } from "./visit";
import { base } from "./wire";

/** The panel of files: one that is hidden goes on with what is on its way. */
type Panel = "closed" | "open" | "hidden";

export default function Terminal({ target, login, me }: { target: string; login: string | null; me: CurrentUser }): ReactNode {
  const t = usePartTranslation(messages);
  const site = base(me.terminal_origin, location.href);
  const [phase, setPhase] = useState<Phase>({ state: "connecting" });
  const [searching, setSearching] = useState(0);
  const [files, setFiles] = useState<Panel>("closed");
  const [host, visit] = useVisit({ base: site, target, login }, t, setPhase, () => setSearching((times) => times + 1));
  const [reader, setReader] = useReader(visit);
  useGuard(visit, phase.state === "live");
  const session = phase.state === "connecting" ? null : phase.session;
  const live = phase.state === "live";
  const back = (): void => visit?.screen.focus();
  useEffect(() => {
    if (phase.state === "connecting") setFiles("closed");
  }, [phase.state]);
  useEffect(() => {
    if (files === "closed") visit?.closeFiles();
  }, [visit, files]);
  return (
    <main className="page shell">
      <div className="shell-head">
        <h1>{session ? `${session.login}@${session.target}` : login ? `${login}@${target}` : target}</h1>
        <State phase={phase} t={t} />
        {session && <a className="shell-session" href={`/sessions/${encodeURIComponent(session.name)}`} target="_blank" rel="noopener" title={t("sessionLink", session.name)}>{session.name}</a>}
        <span className="fill" />
        {phase.state === "over" && <button type="button" className="main" onClick={() => visit?.start()}>{t("newSession")}</button>}
        <button type="button" onClick={() => setSearching((times) => times + 1)} title="Ctrl+Shift+F">{t("search")}</button>
        {session?.files && <button type="button" aria-expanded={files === "open"} disabled={!live} onClick={() => setFiles(files === "open" ? "hidden" : "open")}>{t("files")}</button>}
        <button type="button" aria-pressed={reader} onClick={() => setReader(!reader)}>{t("screenReader")}</button>
      </div>
      <div className="shell-body">
        <div className="shell-screen">
          {visit && searching > 0 && <Search key={searching} screen={visit.screen} t={t} onClose={() => { setSearching(0); back(); }} />}
          <div className="shell-host" ref={host} role="group" aria-label={t("label", target)} />
        </div>
        {visit && session && files !== "closed" && <Files key={session.id} target={session.target} open={() => visit.openFiles()} t={t} hidden={files === "hidden"} onClose={(busy) => { setFiles(busy ? "hidden" : "closed"); back(); }} />}
      </div>
    </main>
  );
}

function State({ phase, t }: { phase: Phase; t: TerminalTranslate }): ReactNode {
  const text = phase.state === "over" ? t("over", phase.why) : t(phase.state);
  return <span className={`shell-state ${phase.state}`} role="status" data-testid="state">{text}</span>;
}

/** A visit to the target for as long as the page shows it. */
function useVisit(where: { base: string; target: string; login: string | null }, t: TerminalTranslate, onPhase: (phase: Phase) => void, onSearch: () => void) {
  const host = useRef<HTMLDivElement>(null);
  const [visit, setVisit] = useState<Visit | null>(null);
  const now = useRef(t);
  useEffect(() => {
    now.current = t;
  });
  const { base, target, login } = where;
  useEffect(() => {
    if (!host.current) return;
    const visit = new Visit(host.current, { base, target, login }, () => now.current, { phase: onPhase, search: onSearch });
    setVisit(visit);
    return () => visit.close();
    // What the visit calls is always the same to it.
  }, [base, target, login]);
  return [host, visit] as const;
}

/** A tab that is closed ends its session at once, and asks before. */
function useGuard(visit: Visit | null, live: boolean): void {
  useEffect(() => {
    const hide = (): void => visit?.hide();
    window.addEventListener("pagehide", hide);
    return () => window.removeEventListener("pagehide", hide);
  }, [visit]);
  useEffect(() => {
    if (!live) return;
    const question = (event: BeforeUnloadEvent): void => event.preventDefault();
    window.addEventListener("beforeunload", question);
    return () => window.removeEventListener("beforeunload", question);
  }, [live]);
}

/** Whether screen readers can read the terminal, which costs time on each line. */
function useReader(visit: Visit | null): [boolean, (on: boolean) => void] {
  const [on, setOn] = useState(() => localStorage.getItem("screenReader") === "on");
  useEffect(() => {
    if (visit) visit.screen.readable = on;
    localStorage.setItem("screenReader", on ? "on" : "");
  }, [visit, on]);
  return [on, setOn];
}
