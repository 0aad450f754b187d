// One session: its life, what it may still take, and what is known of it; from the cluster, or later from the history.

import { type ReactNode, useEffect, useState } from "react";
import { fetchSessionEvents, fetchHistoryRecord, ApiError, errorMessage, fetchSession } from "../api/client";
import type { SessionEvent, CurrentUser, Session } from "../api/types";
import { formatBytes, formatDuration, formatCoarseDuration } from "../format";
import type { TimedActivity } from "../feed/feedState";
import { useFeedClient, useFeedState } from "../feed/feedContext";
import { EmptyState } from "../components/EmptyState";
import { PageHeader } from "../components/PageHeader";
import { useFetch } from "../hooks/useFetch";
import { useNow } from "../hooks/useNow";
import { Link } from "../components/Link";
import { Timestamp } from "../components/Timestamp";
import { PlaybackLink } from "../components/PlaybackLink";
import { useTerminationBlocker } from "../sessions/useTerminationBlocker";
import { TerminateDialog } from "../sessions/TerminateDialog";
import { useTranslation } from "../i18n";
import { left, life, looks, type Step } from "./life";

interface Found {
  session: Session;
  events: readonly SessionEvent[];
  /** Why there are no Events. */
  lacking: string | null;
}

/** The session as the cluster has it; where it is there no longer, and its id is known, as the history has it. */
async function find(name: string, id: string | null): Promise<Found> {
  try {
    const session = await fetchSession(name);
    if (id === null || session.session_id === id) return await withEvents(session);
  } catch (error) {
    const gone = error instanceof ApiError && (error.status === 404 || error.status === 403);
    if (!gone || id === null) throw error;
  }
  return { session: await fetchHistoryRecord(id), events: [], lacking: null };
}

async function withEvents(session: Session): Promise<Found> {
  try {
    return { session, events: (await fetchSessionEvents(session.name)).events, lacking: null };
  } catch (error) {
    return { session, events: [], lacking: errorMessage(error) };
  }
}

export function SessionDetail({ name, id, me }: { name: string; id: string | null; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const online = useFeedState();
  const feed = useFeedClient();
  // The feed tells of an end before the next look would.
  const { data, errorMessage, error } = useFetch(() => find(name, id), `${name} ${id} ${online.ended.some((it) => it.session.name === name)}`, looks);
  const active = data?.session.status === "active";
  useEffect(() => {
    if (active) feed.watch([name]);
  }, [active, feed, name]);
  if (!data) return <Missing name={name} error={errorMessage} failure={error} />;
  const { session, events, lacking } = data;
  return (
    <main className="page detail">
      <PageHeader title={name} lead={<Status session={session} />}>{active && <span className="buttons"><Follow session={session} me={me} /><End session={session} me={me} /></span>}</PageHeader>
      {errorMessage && <p className="notice bad" role="alert">{errorMessage}</p>}
      <div className="halves">
        <section className="paper" aria-labelledby="life">
          <h2 id="life">{t("timeline")}</h2>
          <ol className="timeline">{life(session, events).map((step, at) => <Point key={at} step={step} session={session} />)}</ol>
          {lacking && <p className="hint">{t("eventsUnknown", lacking)}</p>}
          {!lacking && events.length === 0 && <p className="hint">{t("noEvents")}</p>}
        </section>
        <div className="aside">
          <Facts session={session} />
          {active && <Limits session={session} activity={online.activity.get(name)} />}
          <Recorded session={session} me={me} />
        </div>
      </div>
    </main>
  );
}

function Missing({ name, error, failure }: { name: string; error: string | null; failure: unknown }): ReactNode {
  const t = useTranslation();
  const gone = failure instanceof ApiError && failure.status === 404;
  return (
    <main className="page detail">
      <PageHeader title={name} />
      {!error && <p className="hint" role="status">{t("loading")}</p>}
      {error && (
        <EmptyState title={t(gone ? "sessionGone" : failure instanceof ApiError && failure.status === 403 ? "noRight" : "sessionMissing")} hint={error} tone="bad">
          <Link to="/history" className="link">{t("lookInHistory")}</Link>
        </EmptyState>
      )}
    </main>
  );
}

function Status({ session }: { session: Session }): ReactNode {
  const t = useTranslation();
  const why = session.status === "active" ? "" : `: ${t.reason(session.reason)}`;
  return <span className={`why ${session.status}`} data-testid="status">{session.termination && !why ? t("ending") : t(session.status)}{why}</span>;
}

/** The way to its terminals as they are now; where it is shut, it says why. */
function Follow({ session, me }: { session: Session; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const may = me.rights.observe;
  if (may?.allowed === false) return <button type="button" disabled title={may.reason ?? t("mayNotFollow")}>{t("follow")}</button>;
  return <Link to={`/follow/${encodeURIComponent(session.name)}`} className="button" label={t("followThis", session.user, session.target)}>{t("follow")}</Link>;
}

function End({ session, me }: { session: Session; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const online = useFeedState();
  const [asking, setAsking] = useState(false);
  const lacking = useTerminationBlocker(me)(session);
  return (
    <>
      <button type="button" className="danger" disabled={lacking !== null || session.termination !== undefined || !online.live} title={lacking ?? undefined} onClick={() => setAsking(true)}>{t("terminate")}</button>
      {asking && <TerminateDialog sessions={[session]} feedState={online} onClose={() => setAsking(false)} />}
    </>
  );
}

function Point({ step, session }: { step: Step; session: Session }): ReactNode {
  const t = useTranslation();
  const tone = step.kind === "ended" ? session.status : step.warning ? "timeout" : "";
  const title = { began: t("began"), seen: t("lastSeen"), asked: t("askedToEnd"), ended: t.reason(session.reason), event: t.reason(step.name) }[step.kind];
  return (
    <li className={`${step.kind} ${tone}`}>
      <span className="when">{step.time ? <Timestamp time={step.time} /> : t("timeUnknown")}</span>
      <strong>{title}</strong>{step.count > 1 && <small> ×{step.count}</small>} <Told step={step} session={session} />
    </li>
  );
}

function Told({ step, session }: { step: Step; session: Session }): ReactNode {
  const t = useTranslation();
  if (step.kind === "began") return <p>{step.text ?? t("beganFrom", session.user, session.client_address)}</p>;
  if (step.kind === "asked") return <p>{t("by", step.name ?? "")}{step.text && `: ${step.text}`}</p>;
  const by = step.kind === "ended" && session.terminated_by;
  return <>{step.text && <p>{step.text}</p>}{by && <p>{t("by", by)}</p>}</>;
}

function List({ title, facts, act }: { title: string; facts: readonly (readonly [string, ReactNode])[]; act?: ReactNode }): ReactNode {
  return (
    <section className="paper">
      {act ? <div className="split"><h2>{title}</h2>{act}</div> : <h2>{title}</h2>}
      <dl className="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
    </section>
  );
}

function Facts({ session }: { session: Session }): ReactNode {
  const t = useTranslation();
  const now = useNow();
  const began = Date.parse(session.start_time);
  const took = session.duration_seconds !== null ? session.duration_seconds * 1000 : (session.end_time ? Date.parse(session.end_time) : now) - began;
  const exit = session.exit_signal ?? session.exit_code;
  const known = session.status === "active" || session.duration_seconds !== null || session.end_time !== null;
  return (
    <List title={t("facts")} facts={[
      [t("user"), <><Link to={`/?user=${encodeURIComponent(session.user)}`} className="link">{session.user}</Link>{session.subject !== session.user && <small> {session.subject}</small>}</>],
      [t("target"), <>{session.login}@<Link to={`/?target=${encodeURIComponent(session.target)}`} className="link">{session.target}</Link></>],
      [t("client"), <>{session.client_address}:{session.client_port}{session.client_software && <small> {session.client_software}</small>}</>],
      [t("protocol"), session.protocol],
      [t("gateway"), session.gateway],
      [t("started"), <Timestamp time={session.start_time} />],
      ...(session.end_time ? [[t("ended"), <Timestamp time={session.end_time} />] as const] : []),
      [t("duration"), known ? formatDuration(took) : t("unknown")],
      [t("sent"), formatBytes(session.bytes_in)],
      [t("received"), formatBytes(session.bytes_out)],
      ...(exit === null ? [] : [[t("exit"), String(exit)] as const]),
    ]} />
  );
}

function Limits({ session, activity }: { session: Session; activity: TimedActivity | undefined }): ReactNode {
  const t = useTranslation();
  const now = useNow();
  const { limits } = session;
  const lasted = (now - Date.parse(session.start_time)) / 1000;
  const idle = activity?.idle_seconds == null ? null : activity.idle_seconds + (now - activity.receivedAt) / 1000;
  const told = (limit: number | null | undefined, used: number | null): string => {
    if (limits === undefined) return t("limitsUntold");
    if (limit == null) return t("noLimit");
    const rest = left(limit, used);
    return rest === null ? formatCoarseDuration(limit, t.language) : rest === 0 ? t("spent") : t("left", formatCoarseDuration(rest, t.language), formatCoarseDuration(limit, t.language));
  };
  return (
    <List title={t("limits")} facts={[
      [t("longestLimit"), told(limits?.max_seconds, lasted)],
      [t("idleLimit"), told(limits?.idle_seconds, idle)],
      [t("idle"), idle === null ? <span title={t("idleUnknown")}>–</span> : formatCoarseDuration(idle, t.language)],
    ]} />
  );
}

function Recorded({ session, me }: { session: Session; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const { recording } = session;
  if (!recording) return <List title={t("recording")} facts={[[t("state"), t("recordingOff")]]} />;
  const { state, message, mode, location, bytes: size, channels } = recording;
  return (
    <List title={t("recording")} act={<PlaybackLink session={session} me={me} />} facts={[
      [t("state"), <>{state ?? (session.status === "active" ? t("recordingNow") : "–")}{message && <small className="bad"> {message}</small>}</>],
      ...(mode ? [[t("mode"), mode] as const] : []),
      ...(location ? [[t("place"), <code>{location}</code>] as const] : []),
      ...(size === undefined ? [] : [[t("size"), formatBytes(size)] as const]),
      ...(channels ? [[t("channelsOf"), channels.length] as const] : []),
    ]} />
  );
}
