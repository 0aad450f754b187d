// The page that plays a session's recordings, or says why there are none.

import type { ReactNode } from "react";
import { fetchHistoryRecord, fetchSession, hasStatus } from "../api/client";
import type { CurrentUser, Session } from "../api/types";
import { EmptyState } from "../components/EmptyState";
import { Link } from "../components/Link";
import { PageHeader } from "../components/PageHeader";
import { useFetch } from "../hooks/useFetch";
import { usePartTranslation } from "../i18n";
import { useSearchParams } from "../router";
import { sessionPagePath } from "../routes";
import { messages, type RecordingTranslate } from "./messages";
import { Playback } from "./Playback";
import { fetchRecordings, type Recording } from "./recordingApi";
import { recordingStatus, unavailableReason, type UnavailableReason } from "./recordingStatus";
import "./style.css";

interface SessionRecordings {
  recordings: Recording[];
  /** Null if neither the cluster nor the history has the session. */
  session: Session | null;
}

/** Fetches the session from the cluster or the history. Playback works without it, so errors are ignored. */
async function findSession(name: string, id: string | null): Promise<Session | null> {
  const found = await fetchSession(name).catch(() => null);
  if (found && (id === null || found.session_id === id)) return found;
  return id === null ? null : await fetchHistoryRecord(id).catch(() => null);
}

async function fetchSessionRecordings(name: string, id: string | null): Promise<SessionRecordings> {
  const emptyIfMissing = (error: unknown): Recording[] => {
    if (hasStatus(error, 404)) return [];
    throw error;
  };
  const [recordings, session] = await Promise.all([fetchRecordings(name).catch(emptyIfMissing), findSession(name, id)]);
  return { recordings, session };
}

export default function RecordingPage({ name, me }: { name: string; me: CurrentUser }): ReactNode {
  const t = usePartTranslation(messages);
  const permission = me.rights.observe;
  if (permission?.allowed !== false) return <Recordings name={name} t={t} />;
  return <Frame name={name} session={null} t={t}><EmptyState title={t("noRight")} hint={permission.reason} tone="bad" /></Frame>;
}

function Recordings({ name, t }: { name: string; t: RecordingTranslate }): ReactNode {
  const [params] = useSearchParams();
  const id = params.get("id");
  const { data, errorMessage, error } = useFetch(() => fetchSessionRecordings(name, id), `${name} ${id}`);
  const session = data?.session ?? null;
  const isForbidden = hasStatus(error, 403);
  const selected = data && selectRecording(data.recordings, params.get("number"));
  return (
    <Frame name={name} session={session} title={selected?.title ?? null} t={t}>
      {errorMessage && <EmptyState title={t(isForbidden ? "noRight" : "fails")} hint={errorMessage} tone="bad" />}
      {!errorMessage && !data && <p className="hint" role="status">{t("loading")}</p>}
      {data && (selected ? <SelectedRecording data={data} recording={selected} name={name} t={t} /> : <NoRecording data={data} number={params.get("number")} t={t} />)}
    </Frame>
  );
}

/** Returns the recording with this number. If `number` is null, returns the first recording. */
function selectRecording(recordings: readonly Recording[], number: string | null): Recording | null {
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
        <Link to={sessionPagePath(name, id)} className="button">{t("toSession")}</Link>
      </PageHeader>
      {children}
    </main>
  );
}

function NoRecording({ data, number, t }: { data: SessionRecordings; number: string | null; t: RecordingTranslate }): ReactNode {
  if (data.recordings.length > 0) return <EmptyState title={t("noSuchNumber", number ?? "")} />;
  const reason = unavailableReason(data.session);
  const cause = data.session?.recording?.message ?? t("causeUnknown");
  const [title, hint] = ({
    off: [t("notRecorded"), null],
    notYet: [t("notYetRecorded"), t("notYetRecordedHint")],
    failed: [t("failedEarly"), cause],
    nothing: [t("noRecording"), t("noRecordingHint")],
  } satisfies Record<UnavailableReason, [string, string | null]>)[reason];
  return reason === "failed" ? <EmptyState title={title} hint={hint} tone="bad" /> : <EmptyState title={title} hint={hint} />;
}

interface SelectedRecordingProps {
  data: SessionRecordings;
  recording: Recording;
  name: string;
  t: RecordingTranslate;
}

function SelectedRecording({ data, recording, name, t }: SelectedRecordingProps): ReactNode {
  const status = recordingStatus(recording, data.session);
  const cause = data.session?.recording?.message ?? t("causeUnknown");
  return (
    <>
      {status !== "complete" && <p className={status === "failed" ? "notice bad" : "notice"} data-testid="recording-status">{t(status, cause)}</p>}
      {recording.pieces.length < 2 && <EmptyState title={t("headerOnly")} />}
      {recording.pieces.length < 2 && data.recordings.length > 1 && <RecordingSelect recordings={data.recordings} recording={recording} t={t} />}
      {recording.pieces.length > 1 && (
        <Playback key={recording.number} session={name} recording={recording} t={t} choice={<RecordingSelect recordings={data.recordings} recording={recording} t={t} />} />
      )}
    </>
  );
}

/** The field that selects one of several recordings. */
function RecordingSelect({ recordings, recording, t }: { recordings: readonly Recording[]; recording: Recording; t: RecordingTranslate }): ReactNode {
  const [params, setParams] = useSearchParams();
  if (recordings.length < 2) return null;
  const goTo = (number: string): void => {
    const query = new URLSearchParams(params);
    query.set("number", number);
    query.delete("at");
    setParams(query, false);
  };
  return (
    <label className="player-choice">
      {t("number")}{" "}
      <select value={recording.number} onChange={(event) => goTo(event.target.value)}>
        {recordings.map(({ number, title }) => <option key={number} value={number}>{t("numberOf", number, recordings.length)}{title && ` – ${title}`}</option>)}
      </select>
    </label>
  );
}
