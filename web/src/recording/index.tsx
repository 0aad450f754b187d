// Playback of a session's recordings: which there are, and why there are none.

import type { ReactNode } from "react";
import { type Me, record, Refused, session as askSession, type Session } from "../api";
import { Empty } from "../parts/Empty";
import { Head } from "../parts/Head";
import { useAsked } from "../parts/hooks";
import { Link } from "../parts/Link";
import { useParams } from "../url";
import { type Recording, recordings as askRecordings } from "./ask";
import { Playback } from "./Playback";
import { lack, type Lack, standing } from "./standing";
import "./style.css";
import { useWords, type Words } from "./words";

interface Found {
  recordings: Recording[];
  /** Null where neither the cluster nor the history tells of it. */
  session: Session | null;
}

/** The session as the cluster has it, or the history. Without it, what is recorded is played as well. */
async function about(name: string, id: string | null): Promise<Session | null> {
  const found = await askSession(name).catch(() => null);
  if (found && (id === null || found.session_id === id)) return found;
  return id === null ? null : await record(id).catch(() => null);
}

async function find(name: string, id: string | null): Promise<Found> {
  const none = (error: unknown): Recording[] => {
    if (error instanceof Refused && error.status === 404) return [];
    throw error;
  };
  const [recordings, session] = await Promise.all([askRecordings(name).catch(none), about(name, id)]);
  return { recordings, session };
}

export default function RecordingPage({ name, me }: { name: string; me: Me }): ReactNode {
  const words = useWords();
  const may = me.rights.observe;
  if (may?.allowed !== false) return <Asked name={name} words={words} />;
  return <Frame name={name} session={null} words={words}><Empty title={words("noRight")} hint={may.reason} tone="bad" /></Frame>;
}

function Asked({ name, words }: { name: string; words: Words }): ReactNode {
  const [params] = useParams();
  const id = params.get("id");
  const { answer, error, failure } = useAsked(() => find(name, id), `${name} ${id}`);
  const session = answer?.session ?? null;
  const noRight = failure instanceof Refused && failure.status === 403;
  const chosen = answer && choose(answer.recordings, params.get("number"));
  return (
    <Frame name={name} session={session} title={chosen?.title ?? null} words={words}>
      {error && <Empty title={words(noRight ? "noRight" : "fails")} hint={error} tone="bad" />}
      {!error && !answer && <p className="hint" role="status">{words("loading")}</p>}
      {answer && (chosen ? <Chosen answer={answer} recording={chosen} name={name} words={words} /> : <None answer={answer} number={params.get("number")} words={words} />)}
    </Frame>
  );
}

/** The recording of this number; the first where none is asked for. */
function choose(recordings: readonly Recording[], number: string | null): Recording | null {
  return (number === null ? recordings[0] : recordings.find((it) => String(it.number) === number)) ?? null;
}

interface FrameProps {
  name: string;
  session: Session | null;
  title?: string | null;
  words: Words;
  children: ReactNode;
}

function Frame({ name, session, title, words, children }: FrameProps): ReactNode {
  const [params] = useParams();
  const id = session?.session_id ?? params.get("id");
  return (
    <main className="page player">
      <Head title={session ? words("of", session.user, `${session.login}@${session.target}`) : words("ofSession", name)} lead={title && <code className="hint">{title}</code>}>
        <Link to={`/sessions/${encodeURIComponent(name)}${id ? `?id=${encodeURIComponent(id)}` : ""}`} className="button">{words("toSession")}</Link>
      </Head>
      {children}
    </main>
  );
}

function None({ answer, number, words }: { answer: Found; number: string | null; words: Words }): ReactNode {
  if (answer.recordings.length > 0) return <Empty title={words("lackNumber", number ?? "")} />;
  const why = lack(answer.session);
  const cause = answer.session?.recording?.message ?? words("causeUnknown");
  const [title, hint] = ({
    off: [words("lackOff"), null],
    notYet: [words("lackNotYet"), words("lackNotYetHint")],
    failed: [words("lackFailed"), cause],
    nothing: [words("lackNothing"), words("lackNothingHint")],
  } satisfies Record<Lack, [string, string | null]>)[why];
  return why === "failed" ? <Empty title={title} hint={hint} tone="bad" /> : <Empty title={title} hint={hint} />;
}

interface ChosenProps {
  answer: Found;
  recording: Recording;
  name: string;
  words: Words;
}

function Chosen({ answer, recording, name, words }: ChosenProps): ReactNode {
  const stands = standing(recording, answer.session);
  const cause = answer.session?.recording?.message ?? words("causeUnknown");
  return (
    <>
      {stands !== "whole" && <p className={stands === "failed" ? "notice bad" : "notice"} data-testid="standing">{words(stands, cause)}</p>}
      {recording.pieces.length < 2 && <Empty title={words("emptyOne")} />}
      {recording.pieces.length < 2 && answer.recordings.length > 1 && <Numbers all={answer.recordings} recording={recording} words={words} />}
      {recording.pieces.length > 1 && (
        <Playback key={recording.number} session={name} recording={recording} words={words} choice={<Numbers all={answer.recordings} recording={recording} words={words} />} />
      )}
    </>
  );
}

/** Which one to play, where there are several. */
function Numbers({ all, recording, words }: { all: readonly Recording[]; recording: Recording; words: Words }): ReactNode {
  const [params, setParams] = useParams();
  if (all.length < 2) return null;
  const to = (number: string): void => {
    const query = new URLSearchParams(params);
    query.set("number", number);
    query.delete("at");
    setParams(query, false);
  };
  return (
    <label className="player-choice">
      {words("number")}{" "}
      <select value={recording.number} onChange={(event) => to(event.target.value)}>
        {all.map(({ number, title }) => <option key={number} value={number}>{words("numberOf", number, all.length)}{title && ` – ${title}`}</option>)}
      </select>
    </label>
  );
}
