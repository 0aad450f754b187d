// A session that is followed: what its terminals show, as they show it. Nothing can be typed here.

import { type ReactNode, useEffect, useReducer, useState } from "react";
import type { CurrentUser } from "../api/types";
import { EmptyState } from "../components/EmptyState";
import { Link } from "../components/Link";
import { useFocusedHeading } from "../components/PageHeader";
import { useScreenReaderMode } from "../hooks/useScreenReaderMode";
import { usePartTranslation } from "../i18n";
import { Connection } from "./connection";
import { type Followed, heed, looked, NOTHING, type Phase } from "./followed";
import { messages, type ObserveTranslate } from "./messages";
import { Outlets } from "./outlets";
import "./style.css";
import { Terminals } from "./Terminals";

export default function Follow({ name, me }: { name: string; me: CurrentUser }): ReactNode {
  const t = usePartTranslation(messages);
  const may = me.rights.observe;
  if (may?.allowed !== false) return <Following name={name} t={t} />;
  return <Frame name={name} followed={NOTHING} t={t}><EmptyState title={t("mayNot")} hint={may.reason} tone="bad" /></Frame>;
}

function Following({ name, t }: { name: string; t: ObserveTranslate }): ReactNode {
  const [followed, outlets, choose] = useFollowed(name);
  const [reader, setReader] = useScreenReaderMode();
  const { phase, terminals } = followed;
  const act = terminals.length > 0 && <button type="button" aria-pressed={reader} onClick={() => setReader(!reader)}>{t("screenReader")}</button>;
  return (
    <Frame name={name} followed={followed} t={t} act={act}>
      <Standing phase={phase} t={t} />
      {phase.state === "live" && terminals.length === 0 && <EmptyState title={t("noTerminal")} hint={t("noTerminalHint")} />}
      <Terminals terminals={terminals} shown={looked(followed)} round={followed.round} outlets={outlets} readable={reader} t={t} onChoose={choose} />
    </Frame>
  );
}

/** What is told of a session for as long as the page shows it, and which terminal is looked at. */
function useFollowed(name: string): [Followed, Outlets, (number: number) => void] {
  const [followed, tell] = useReducer(heed, NOTHING);
  const [outlets] = useState(() => new Outlets((number) => tell({ news: "skipped", number, now: Date.now() })));
  useEffect(() => {
    const connection = new Connection(name, {
      said: (said) => {
        if (said.type === "following") outlets.clear();
        if (said.type === "terminal") outlets.size(said.number, { columns: said.cols, rows: said.rows });
        if (said.type === "skipped") outlets.cut(said.number);
        tell({ news: "said", said, now: Date.now() });
      },
      output: ({ number, bytes }) => outlets.output(number, bytes),
      lost: (why) => tell({ news: "lost", why }),
      refused: ({ status, message }) => tell({ news: "refused", status, why: message }),
    });
    return () => connection.leave();
  }, [name, outlets]);
  return [followed, outlets, (number) => tell({ news: "chosen", number })];
}

interface FrameProps {
  name: string;
  followed: Followed;
  t: ObserveTranslate;
  act?: ReactNode;
  children: ReactNode;
}

function Frame({ name, followed: { whose, phase }, t, act, children }: FrameProps): ReactNode {
  const heading = useFocusedHeading();
  return (
    <main className="page follow">
      <header className="head">
        <div className="title">
          <h1 ref={heading} tabIndex={-1}>{whose ? t("of", whose.user, `${whose.login}@${whose.target}`) : name}</h1>
          <span className={phase.state === "live" ? "mark live" : phase.state === "connecting" ? "mark" : "mark old"} role="status" data-testid="state">{t(phase.state)}</span>
          {whose && phase.state === "live" && <span className="mark old" data-testid="watching">{t("watching", whose.user)}</span>}
        </div>
        <span className="fill" />
        {act}
        <Link to={`/sessions/${encodeURIComponent(name)}`} className="button">{t("toSession")}</Link>
      </header>
      {children}
    </main>
  );
}

/** Why nothing new is shown, where that is so. */
function Standing({ phase, t }: { phase: Phase; t: ObserveTranslate }): ReactNode {
  switch (phase.state) {
    case "lost":
      return <p className="notice" role="status">{phase.why === null ? t("trying") : t("tryingWhy", phase.why)}</p>;
    case "refused":
      return <EmptyState title={t(REFUSALS[phase.status] ?? "fails")} hint={phase.why} tone="bad" />;
    case "over":
      return <p className="notice" role="status">{t("ended", t.reason(phase.end.reason))}{phase.end.message && <small> {phase.end.message}</small>}</p>;
    default:
      return null;
  }
}

const REFUSALS: Record<number, "unknown" | "mayNot" | "gone" | "overAlready"> = { 401: "unknown", 403: "mayNot", 404: "gone", 409: "overAlready" };
