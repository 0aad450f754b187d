// A session that is followed: what its terminals show, as they show it. Nothing can be typed here.

import { type ReactNode, useEffect, useReducer, useState } from "react";
import type { Me } from "../api";
import { Empty } from "../parts/Empty";
import { useHeading } from "../parts/Head";
import { useScreenReader } from "../parts/hooks";
import { Link } from "../parts/Link";
import { Connection } from "./connection";
import { type Followed, heed, looked, NOTHING, type Phase } from "./followed";
import { Outlets } from "./outlets";
import "./style.css";
import { Terminals } from "./Terminals";
import { useWords, type Words } from "./words";

export default function Follow({ name, me }: { name: string; me: Me }): ReactNode {
  const words = useWords();
  const may = me.rights.observe;
  if (may?.allowed !== false) return <Following name={name} words={words} />;
  return <Frame name={name} followed={NOTHING} words={words}><Empty title={words("mayNot")} hint={may.reason} tone="bad" /></Frame>;
}

function Following({ name, words }: { name: string; words: Words }): ReactNode {
  const [followed, outlets, choose] = useFollowed(name);
  const [reader, setReader] = useScreenReader();
  const { phase, terminals } = followed;
  const act = terminals.length > 0 && <button type="button" aria-pressed={reader} onClick={() => setReader(!reader)}>{words("reader")}</button>;
  return (
    <Frame name={name} followed={followed} words={words} act={act}>
      <Standing phase={phase} words={words} />
      {phase.state === "live" && terminals.length === 0 && <Empty title={words("noTerminal")} hint={words("noTerminalHint")} />}
      <Terminals terminals={terminals} shown={looked(followed)} round={followed.round} outlets={outlets} readable={reader} words={words} onChoose={choose} />
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
  words: Words;
  act?: ReactNode;
  children: ReactNode;
}

function Frame({ name, followed: { whose, phase }, words, act, children }: FrameProps): ReactNode {
  const heading = useHeading();
  return (
    <main className="page follow">
      <header className="head">
        <div className="title">
          <h1 ref={heading} tabIndex={-1}>{whose ? words("of", whose.user, `${whose.login}@${whose.target}`) : name}</h1>
          <span className={phase.state === "live" ? "mark live" : phase.state === "connecting" ? "mark" : "mark old"} role="status" data-testid="state">{words(phase.state)}</span>
          {whose && phase.state === "live" && <span className="mark old" data-testid="watching">{words("watching", whose.user)}</span>}
        </div>
        <span className="fill" />
        {act}
        <Link to={`/sessions/${encodeURIComponent(name)}`} className="button">{words("toSession")}</Link>
      </header>
      {children}
    </main>
  );
}

/** Why nothing new is shown, where that is so. */
function Standing({ phase, words }: { phase: Phase; words: Words }): ReactNode {
  switch (phase.state) {
    case "lost":
      return <p className="notice" role="status">{phase.why === null ? words("trying") : words("tryingWhy", phase.why)}</p>;
    case "refused":
      return <Empty title={words(REFUSALS[phase.status] ?? "fails")} hint={phase.why} tone="bad" />;
    case "over":
      return <p className="notice" role="status">{words("ended", words.reason(phase.end.reason))}{phase.end.message && <small> {phase.end.message}</small>}</p>;
    default:
      return null;
  }
}

const REFUSALS: Record<number, "unknown" | "mayNot" | "gone" | "overAlready"> = { 401: "unknown", 403: "mayNot", 404: "gone", 409: "overAlready" };
