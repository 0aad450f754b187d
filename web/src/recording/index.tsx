// Playback of a session's recordings: which there are, and why there are none.

import type { ReactNode } from "react";
import { ApiError, fetchHistoryRecord, fetchSession } from "../api/client";
import type { CurrentUser, Session } from "../api/types";
import { EmptyState } from "../components/EmptyState";
import { Link } from "../components/Link";
import { PageHeader } from "../components/PageHeader";
import { useFetch } from "../hooks/useFetch";
import { usePartTranslation } from "../i18n";
import { useSearchParams } from "../router";
import { type Recording, recordings as askRecordings } from "./ask";
import { messages, type RecordingTranslate } from "./messages";
import { Playback } from "./Playback";
import { lack, type Lack, standing } from "./standing";
import "./style.css";

interface Found {
  recordings: Recording[];
  /** Null where neither the cluster nor the history tells of it. */
  session: Session | null;
}

/** The session as the cluster has it, or the history. Without it, what is recorded is played as well. */
async function about(name: string, id: string | null): Promise<Session | null> {
  const found = await fetchSession(name).catch(() => null);
  if (found && (id === null || found.session_id === id)) return found;
  return id === null ? null : await fetchHistoryRecord(id).catch(() => null);
}

async function find(name: string, id: string | null): Promise<Found> {
  const none = (error: unknown): Recording[] => {
    if (error instanceof ApiError && error.status === 404) return [];
    throw error;
  };
  const [recordings, session] = await Promise.all([askRecordings(name).catch(none), about(name, id)]);
  return { recordings, session };
}

export default function RecordingPage({ name, me }: { name: string; me: CurrentUser }): ReactNode {
  const t = usePartTranslation(messages);
  const may = me.rights.observe;
  if (may?.allowed !== false) return <Asked name={name} t={t} />;
  return <Frame name={name} session={null} t={t}><EmptyState title={t("noRight")} hint={may.reason} tone="bad" /></Frame>;
}

function Asked({ name, t }: { name: string; t: RecordingTranslate }): ReactNode {
  const [params] = useSearchParams();
  const id = params.get("id");
  const { data, errorMessage, error } = useFetch(() => find(name, id), `${name} ${id}`);
  const session = data?.session ?? null;
  const noRight = error instanceof ApiError && error.status === 403;
  const chosen = data && choose(data.recordings, params.get("number"));
  return (
    <Frame name={name} session={session} title={chosen?.title ?? null} t={t}>
      {errorMessage && <EmptyState title={t(noRight ? "noRight" : "fails")} hint={errorMessage} tone="bad" />}
      {!errorMessage && !data && <p className="hint" role="status">{t("loading")}</p>}
      {data && (chosen ? <Chosen answer={data} recording={chosen} name={name} t={t} /> : <None answer={data} number={params.get("number")} t={t} />)}
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
  t: RecordingTranslate;
  children: ReactNode;
}

function Frame({ name, session, title, t, children }: FrameProps): ReactNode {
  const [params] = useSearchParams();
  const id = session?.session_id ?? params.get("id");
  return (
    <main className="page player">
      <PageHeader title={session ? t("of", session.user, `${session.login}@${session.target}`) : t("ofSession", name)} lead={title && <code className="hint">{title}</code>}>
        <Link to={`/sessions/${encodeURIComponent(name)}${id ? `?id=${encodeURIComponent(id)}` : ""}`} className="button">{t("toSession")}</Link>
      </PageHeader>
      {children}
    </main>
  );
}

function None({ answer, number, t }: { answer: Found; number: string | null; t: RecordingTranslate }): ReactNode {
  if (answer.recordings.length > 0) return <EmptyState title={t("lackNumber", number ?? "")} />;
  const why = lack(answer.session);
  const cause = answer.session?.recording?.message ?? t("causeUnknown");
  const [title, hint] = ({
    off: [t("lackOff"), null],
    notYet: [t("lackNotYet"), t("lackNotYetHint")],
    failed: [t("lackFailed"), cause],
    nothing: [t("lackNothing"), t("lackNothingHint")],
  } satisfies Record<Lack, [string, string | null]>)[why];
  return why === "failed" ? <EmptyState title={title} hint={hint} tone="bad" /> : <EmptyState title={title} hint={hint} />;
}

interface ChosenProps {
  answer: Found;
  recording: Recording;
  name: string;
  t: RecordingTranslate;
}

function Chosen({ answer, recording, name, t }: ChosenProps): ReactNode {
  const stands = standing(recording, answer.session);
  const cause = answer.session?.recording?.message ?? t("causeUnknown");
  return (
    <>
      {stands !== "whole" && <p className={stands === "failed" ? "notice bad" : "notice"} data-testid="standing">{t(stands, cause)}</p>}
      {recording.pieces.length < 2 && <EmptyState title={t("emptyOne")} />}
      {recording.pieces.length < 2 && answer.recordings.length > 1 && <Numbers all={answer.recordings} recording={recording} t={t} />}
      {recording.pieces.length > 1 && (
        <Playback key={recording.number} session={name} recording={recording} t={t} choice={<Numbers all={answer.recordings} recording={recording} t={t} />} />
      )}
    </>
  );
}

/** Which one to play, where there are several. */
function Numbers({ all, recording, t }: { all: readonly Recording[]; recording: Recording; t: RecordingTranslate }): ReactNode {
  const [params, setParams] = useSearchParams();
  if (all.length < 2) return null;
  const to = (number: string): void => {
    const query = new URLSearchParams(params);
    query.set("number", number);
    query.delete("at");
    setParams(query, false);
  };
  return (
    <label className="player-choice">
      {t("number")}{" "}
      <select value={recording.number} onChange={(event) => to(event.target.value)}>
        {all.map(({ number, title }) => <option key={number} value={number}>{t("numberOf", number, all.length)}{title && ` – ${title}`}</option>)}
      </select>
    </label>
  );
}
