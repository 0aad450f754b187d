// The page of one session: its timeline, limits and facts, from the cluster or from the history.

import { type ReactNode, useEffect, useState } from "react";
import { fetchHistoryRecord, fetchSession, fetchSessionEvents, hasStatus, toErrorMessage } from "../../api/client";
import type { CurrentUser, Session, SessionEvent } from "../../api/types";
import { EmptyState } from "../../components/EmptyState";
import { Link } from "../../components/Link";
import { PageHeader } from "../../components/PageHeader";
import { useFeedClient, useFeedState } from "../../feed/feedContext";
import { useFetch } from "../../hooks/useFetch";
import { useTranslation } from "../../i18n";
import { TerminateDialog } from "../../sessions/TerminateDialog";
import { useTerminationBlocker } from "../../sessions/useTerminationBlocker";
import { LimitFacts, RecordingFacts, SessionFacts } from "./facts";
import { detailDelays } from "./sessionTimeline";
import { Timeline } from "./Timeline";

interface SessionDetails {
  session: Session;
  events: readonly SessionEvent[];
  /** Why the Events could not be read. */
  eventsError: string | null;
}

/** Fetches a session from the cluster. If the cluster no longer has it, fetches the record with this ID from the history. */
async function fetchDetails(name: string, id: string | null): Promise<SessionDetails> {
  try {
    const session = await fetchSession(name);
    if (id === null || session.session_id === id) return await fetchWithEvents(session);
  } catch (error) {
    if (!hasStatus(error, 403, 404) || id === null) throw error;
  }
  return { session: await fetchHistoryRecord(id), events: [], eventsError: null };
}

async function fetchWithEvents(session: Session): Promise<SessionDetails> {
  try {
    return { session, events: (await fetchSessionEvents(session.name)).events, eventsError: null };
  } catch (error) {
    return { session, events: [], eventsError: toErrorMessage(error) };
  }
}

export function SessionDetailPage({ name, id, me }: { name: string; id: string | null; me: CurrentUser }): ReactNode {
  const feedState = useFeedState();
  const feed = useFeedClient();
  // The feed reports an end sooner than the next poll, so an end is part of the key.
  const hasEnded = feedState.ended.some((it) => it.session.name === name);
  const { data, errorMessage, error } = useFetch(() => fetchDetails(name, id), `${name} ${id} ${hasEnded}`, detailDelays);
  const isActive = data?.session.status === "active";
  useEffect(() => {
    if (isActive) feed.watch([name]);
  }, [isActive, feed, name]);
  if (!data) return <DetailUnavailable name={name} errorMessage={errorMessage} error={error} />;
  const { session, events, eventsError } = data;
  return (
    <main className="page detail">
      <PageHeader title={name} lead={<StatusText session={session} />}>{isActive && <span className="buttons"><ObserveLink session={session} me={me} /><TerminateButton session={session} me={me} /></span>}</PageHeader>
      {errorMessage && <p className="notice bad" role="alert">{errorMessage}</p>}
      <div className="detail-columns">
        <Timeline session={session} events={events} eventsError={eventsError} />
        <div className="aside">
          <SessionFacts session={session} />
          {isActive && <LimitFacts session={session} activity={feedState.activity.get(name)} />}
          <RecordingFacts session={session} me={me} />
        </div>
      </div>
    </main>
  );
}

/** The page while it loads, or after an error without earlier data. */
function DetailUnavailable({ name, errorMessage, error }: { name: string; errorMessage: string | null; error: unknown }): ReactNode {
  const t = useTranslation();
  const title = hasStatus(error, 404) ? "sessionGone" : hasStatus(error, 403) ? "noRight" : "sessionMissing";
  return (
    <main className="page detail">
      <PageHeader title={name} />
      {!errorMessage && <p className="hint" role="status">{t("loading")}</p>}
      {errorMessage && (
        <EmptyState title={t(title)} hint={errorMessage} tone="bad">
          <Link to="/history" className="link">{t("lookInHistory")}</Link>
        </EmptyState>
      )}
    </main>
  );
}

function StatusText({ session }: { session: Session }): ReactNode {
  const t = useTranslation();
  const reason = session.status === "active" ? "" : `: ${t.reason(session.reason)}`;
  return <span className={`status ${session.status}`} data-testid="status">{session.termination && !reason ? t("ending") : t(session.status)}{reason}</span>;
}

/** The link to the session's live terminals, or a disabled button that says why there is none. */
function ObserveLink({ session, me }: { session: Session; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const permission = me.rights.observe;
  if (permission?.allowed === false) return <button type="button" disabled title={permission.reason ?? t("mayNotFollow")}>{t("follow")}</button>;
  return <Link to={`/follow/${encodeURIComponent(session.name)}`} className="button" label={t("followThis", session.user, session.target)}>{t("follow")}</Link>;
}

function TerminateButton({ session, me }: { session: Session; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const feedState = useFeedState();
  const [isOpen, setOpen] = useState(false);
  const blocker = useTerminationBlocker(me)(session);
  return (
    <>
      <button type="button" className="danger" disabled={blocker !== null || session.termination !== undefined || !feedState.live} title={blocker ?? undefined} onClick={() => setOpen(true)}>{t("terminate")}</button>
      {isOpen && <TerminateDialog sessions={[session]} feedState={feedState} onClose={() => setOpen(false)} />}
    </>
  );
}
