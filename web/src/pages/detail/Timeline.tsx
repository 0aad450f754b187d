// The timeline of a session, with its Kubernetes Events.

import type { ReactNode } from "react";
import type { Session, SessionEvent } from "../../api/types";
import { Timestamp } from "../../components/Timestamp";
import { useTranslation } from "../../i18n";
import { sessionTimeline, type TimelineEntry } from "./sessionTimeline";

interface TimelineProps {
  session: Session;
  events: readonly SessionEvent[];
  /** Why the Events could not be read. */
  eventsError: string | null;
}

export function Timeline({ session, events, eventsError }: TimelineProps): ReactNode {
  const t = useTranslation();
  return (
    <section className="paper" aria-labelledby="timeline">
      <h2 id="timeline">{t("timeline")}</h2>
      <ol className="timeline">{sessionTimeline(session, events).map((entry, index) => <TimelineItem key={index} entry={entry} session={session} />)}</ol>
      {eventsError && <p className="hint">{t("eventsUnknown", eventsError)}</p>}
      {!eventsError && events.length === 0 && <p className="hint">{t("noEvents")}</p>}
    </section>
  );
}

function TimelineItem({ entry, session }: { entry: TimelineEntry; session: Session }): ReactNode {
  const t = useTranslation();
  const tone = entry.kind === "ended" ? session.status : entry.warning ? "timeout" : "";
  const title = { began: t("began"), seen: t("lastSeen"), asked: t("terminationRequested"), ended: t.reason(session.reason), event: t.reason(entry.name) }[entry.kind];
  return (
    <li className={`${entry.kind} ${tone}`}>
      <span className="when">{entry.time ? <Timestamp time={entry.time} /> : t("timeUnknown")}</span>
      <strong>{title}</strong>{entry.count > 1 && <small> ×{entry.count}</small>} <EntryText entry={entry} session={session} />
    </li>
  );
}

function EntryText({ entry, session }: { entry: TimelineEntry; session: Session }): ReactNode {
  const t = useTranslation();
  if (entry.kind === "began") return <p>{entry.text ?? t("beganFrom", session.user, session.client_address)}</p>;
  if (entry.kind === "asked") return <p>{t("by", entry.name ?? "")}{entry.text && `: ${entry.text}`}</p>;
  const by = entry.kind === "ended" && session.terminated_by;
  return <>{entry.text && <p>{entry.text}</p>}{by && <p>{t("by", by)}</p>}</>;
}
