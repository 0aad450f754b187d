// Lists of facts: about a session, its limits and its recording.

import type { ReactNode } from "react";
import type { CurrentUser, Session } from "../../api/types";
import { Link } from "../../components/Link";
import { PlaybackLink } from "../../components/PlaybackLink";
import { Timestamp } from "../../components/Timestamp";
import { idleSeconds, type TimedActivity } from "../../feed/feedState";
import { formatBytes, formatCoarseDuration, formatDuration } from "../../format";
import { useNow } from "../../hooks/useNow";
import { useTranslation } from "../../i18n";
import { remainingSeconds } from "./sessionTimeline";

interface FactListProps {
  title: string;
  facts: readonly (readonly [string, ReactNode])[];
  action?: ReactNode;
}

function FactList({ title, facts, action }: FactListProps): ReactNode {
  return (
    <section className="paper">
      {action ? <div className="split"><h2>{title}</h2>{action}</div> : <h2>{title}</h2>}
      <dl className="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
    </section>
  );
}

export function SessionFacts({ session }: { session: Session }): ReactNode {
  const t = useTranslation();
  const now = useNow();
  const startedAt = Date.parse(session.start_time);
  const duration = session.duration_seconds !== null ? session.duration_seconds * 1000 : (session.end_time ? Date.parse(session.end_time) : now) - startedAt;
  const exit = session.exit_signal ?? session.exit_code;
  const known = session.status === "active" || session.duration_seconds !== null || session.end_time !== null;
  return (
    <FactList title={t("facts")} facts={[
      [t("user"), <><Link to={`/?user=${encodeURIComponent(session.user)}`} className="link">{session.user}</Link>{session.subject !== session.user && <small> {session.subject}</small>}</>],
      [t("target"), <>{session.login}@<Link to={`/?target=${encodeURIComponent(session.target)}`} className="link">{session.target}</Link></>],
      [t("client"), <>{session.client_address}:{session.client_port}{session.client_software && <small> {session.client_software}</small>}</>],
      [t("protocol"), session.protocol],
      [t("gateway"), session.gateway],
      [t("started"), <Timestamp time={session.start_time} />],
      ...(session.end_time ? [[t("ended"), <Timestamp time={session.end_time} />] as const] : []),
      [t("duration"), known ? formatDuration(duration) : t("unknown")],
      [t("sent"), formatBytes(session.bytes_in)],
      [t("received"), formatBytes(session.bytes_out)],
      ...(exit === null ? [] : [[t("exit"), String(exit)] as const]),
    ]} />
  );
}

export function LimitFacts({ session, activity }: { session: Session; activity: TimedActivity | undefined }): ReactNode {
  const t = useTranslation();
  const now = useNow();
  const { limits } = session;
  const elapsed = (now - Date.parse(session.start_time)) / 1000;
  const idle = idleSeconds(activity, now);
  const describeLimit = (limit: number | null | undefined, used: number | null): string => {
    if (limits === undefined) return t("limitsUnknown");
    if (limit == null) return t("noLimit");
    const rest = remainingSeconds(limit, used);
    return rest === null ? formatCoarseDuration(limit, t.language) : rest === 0 ? t("usedUp") : t("left", formatCoarseDuration(rest, t.language), formatCoarseDuration(limit, t.language));
  };
  return (
    <FactList title={t("limits")} facts={[
      [t("longestLimit"), describeLimit(limits?.max_seconds, elapsed)],
      [t("idleLimit"), describeLimit(limits?.idle_seconds, idle)],
      [t("idle"), idle === null ? <span title={t("idleUnknown")}>–</span> : formatCoarseDuration(idle, t.language)],
    ]} />
  );
}

export function RecordingFacts({ session, me }: { session: Session; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const { recording } = session;
  if (!recording) return <FactList title={t("recording")} facts={[[t("state"), t("recordingOff")]]} />;
  const { state, message, mode, location, bytes: size, channels } = recording;
  return (
    <FactList title={t("recording")} action={<PlaybackLink session={session} me={me} />} facts={[
      [t("state"), <>{state ?? (session.status === "active" ? t("recordingNow") : "–")}{message && <small className="bad"> {message}</small>}</>],
      ...(mode ? [[t("mode"), mode] as const] : []),
      ...(location ? [[t("place"), <code>{location}</code>] as const] : []),
      ...(size === undefined ? [] : [[t("size"), formatBytes(size)] as const]),
      ...(channels ? [[t("channelsOf"), channels.length] as const] : []),
    ]} />
  );
}
