// Who has just ended, why, and how long it took to show.

import { memo, type ReactNode, useEffect, useRef, useState } from "react";
import { formatDelay } from "../format";
import { delay, type Ended } from "../live/feed";
import { Link } from "../components/Link";
import { Timestamp } from "../components/Timestamp";
import { useTranslation } from "../i18n";

/** How many are shown, and from one announcement to the next. */
const SHOWN = 50;
const PAUSE = 5000;

export function JustEnded({ ended }: { ended: readonly Ended[] }): ReactNode {
  const t = useTranslation();
  return (
    <aside className="ended" aria-label={t("justEnded")}>
      <h2>{t("justEnded")}</h2>
      <div className="scroll" tabIndex={0} role="group" aria-label={t("justEnded")}>
        {ended.length === 0 && <p className="hint">{t("nothingEnded")}</p>}
        <ul>{ended.slice(0, SHOWN).map((it) => <One key={it.session.session_id} it={it} />)}</ul>
      </div>
      <Announcement ended={ended} />
    </aside>
  );
}

const One = memo(function One({ it }: { it: Ended }): ReactNode {
  const t = useTranslation();
  const { session } = it;
  const took = delay(it);
  return (
    <li data-ended={session.name} data-status={session.status}>
      <Link to={`/sessions/${encodeURIComponent(session.name)}?id=${session.session_id}`}><strong>{session.user}</strong> → {session.target}</Link>
      <span className={`why ${session.status}`} title={session.message ?? undefined}>{t.reason(session.reason)}</span>
      <small>
        {session.end_time && <Timestamp time={session.end_time} now={it.shownAt} />}
        {took !== null && ` · ${t("shownAfter", formatDelay(took))}`}
        {session.terminated_by && ` · ${t("by", session.terminated_by)}`}
      </small>
    </li>
  );
});

/** Tells who listens, and not of each where many end at once. */
function Announcement({ ended }: { ended: readonly Ended[] }): ReactNode {
  const t = useTranslation();
  const [text, setText] = useState("");
  const told = useRef(ended[0]);
  const last = useRef(ended);
  last.current = ended;
  useEffect(() => {
    const timer = window.setInterval(() => {
      const [newest] = last.current;
      if (!newest || newest === told.current) return;
      const before = told.current ? last.current.indexOf(told.current) : last.current.length;
      const count = before < 0 ? last.current.length : before;
      told.current = newest;
      const { user, target, reason } = newest.session;
      setText(count === 1 ? t("announced", user, target, t.reason(reason)) : t("announcedMany", count));
    }, PAUSE);
    return () => window.clearInterval(timer);
  }, [t]);
  return <p className="unseen" aria-live="polite">{text}</p>;
}
