// The list of sessions that have just ended, each with its user, the reason, and how long the end took to be shown.

import { memo, type ReactNode, useEffect, useRef, useState } from "react";
import { Link } from "../components/Link";
import { Timestamp } from "../components/Timestamp";
import { displayDelay, type EndedSession } from "../feed/feedState";
import { formatDelay } from "../format";
import { useTranslation } from "../i18n";
import { sessionPagePath } from "../routes";

const MAX_SHOWN = 50;
const ANNOUNCE_INTERVAL_MS = 5000;

export function JustEnded({ ended }: { ended: readonly EndedSession[] }): ReactNode {
  const t = useTranslation();
  return (
    <aside className="ended" aria-label={t("justEnded")}>
      <h2>{t("justEnded")}</h2>
      <div className="scroll" tabIndex={0} role="group" aria-label={t("justEnded")}>
        {ended.length === 0 && <p className="hint">{t("nothingEnded")}</p>}
        <ul>{ended.slice(0, MAX_SHOWN).map((it) => <EndedItem key={it.session.session_id} ended={it} />)}</ul>
      </div>
      <Announcement ended={ended} />
    </aside>
  );
}

const EndedItem = memo(function EndedItem({ ended }: { ended: EndedSession }): ReactNode {
  const t = useTranslation();
  const { session, shownAt } = ended;
  const delay = displayDelay(ended);
  return (
    <li data-ended={session.name} data-status={session.status}>
      <Link to={sessionPagePath(session.name, session.session_id)}><strong>{session.user}</strong> → {session.target}</Link>
      <span className={`status ${session.status}`} title={session.message ?? undefined}>{t.reason(session.reason)}</span>
      <small>
        {session.end_time && <Timestamp time={session.end_time} now={shownAt} />}
        {delay !== null && ` · ${t("shownAfter", formatDelay(delay))}`}
        {session.terminated_by && ` · ${t("by", session.terminated_by)}`}
      </small>
    </li>
  );
});

/** Announces ends to screen readers: a single end by the session's name, several ends at once by their number. */
function Announcement({ ended }: { ended: readonly EndedSession[] }): ReactNode {
  const t = useTranslation();
  const [text, setText] = useState("");
  const announced = useRef(ended[0]);
  const latest = useRef(ended);
  latest.current = ended;
  useEffect(() => {
    const timer = window.setInterval(() => {
      const [newest] = latest.current;
      if (!newest || newest === announced.current) return;
      const index = announced.current ? latest.current.indexOf(announced.current) : latest.current.length;
      const count = index < 0 ? latest.current.length : index;
      announced.current = newest;
      const { user, target, reason } = newest.session;
      setText(count === 1 ? t("announced", user, target, t.reason(reason)) : t("announcedMany", count));
    }, ANNOUNCE_INTERVAL_MS);
    return () => window.clearInterval(timer);
  }, [t]);
  return <p className="visually-hidden" aria-live="polite">{text}</p>;
}
