// One row of the list: a session, or for a moment where one was.

import { memo, type ReactNode } from "react";
import type { Session } from "../api/types";
import type { Activity, Ended } from "../live/feed";
import { formatBytes, formatDuration, formatCoarseDuration } from "../format";
import { Icon } from "../components/Icon";
import { Link } from "../components/Link";
import { Timestamp } from "../components/Timestamp";
import { useTranslation } from "../i18n";
import type { Slot } from "./slots";

interface RowProps {
  slot: Slot;
  top: number;
  index: number;
  now: number;
  on: boolean;
  /** Whether the keys speak to it. */
  active: boolean;
  activity: (Activity & { at: number }) | undefined;
  /** Why its end may not be asked for. */
  lacking: string | null;
  toggle: (ids: readonly string[], on: boolean) => void;
  onEnd: (sessions: readonly Session[]) => void;
}

export const Row = memo(function Row(props: RowProps): ReactNode {
  const { slot, top, index, on, active } = props;
  const style = { transform: `translateY(${top}px)` };
  const id = `row-${slot.id}`;
  if (slot.gone) return <div className={active ? "row gone active" : "row gone"} id={id} role="row" aria-rowindex={index} style={style}><Gone gone={slot.gone} /></div>;
  const { session } = slot;
  const state = ["row", on && "on", active && "active", session.termination && "ending"].filter(Boolean).join(" ");
  return (
    <div className={state} id={id} role="row" aria-rowindex={index} aria-selected={on} data-name={session.name} style={style}>
      <Cells {...props} session={session} />
    </div>
  );
});

function Gone({ gone: { session, shownAt } }: { gone: Ended }): ReactNode {
  const t = useTranslation();
  const why = shownAt === 0 ? t("outOfSight") : t.reason(session.reason);
  return <span role="gridcell" className={`why ${session.status}`}>{session.user} → {session.target} · {why}</span>;
}

function Cells({ session, now, on, activity, lacking, toggle, onEnd }: RowProps & { session: Session }): ReactNode {
  const t = useTranslation();
  const idle = activity?.idle_seconds == null ? null : activity.idle_seconds + (now - activity.at) / 1000;
  const traffic = activity && `↑ ${formatBytes(activity.bytes_in)} ↓ ${formatBytes(activity.bytes_out)}`;
  return (
    <>
      <span role="gridcell">
        <input type="checkbox" tabIndex={-1} aria-label={t("select", session.user, session.target)} checked={on} onChange={(event) => toggle([session.session_id], event.target.checked)} />
      </span>
      <span role="gridcell" data-column="user" title={session.subject}>
        <Link to={`/sessions/${encodeURIComponent(session.name)}`} label={t("openSession", session.user, session.target)} skipTabOrder>{session.user}</Link>
      </span>
      <span role="gridcell" data-column="target" title={session.target}>{session.target}</span>
      <span role="gridcell" data-column="login" title={session.login}>{session.login}</span>
      <span role="gridcell" data-column="client_address" title={[session.client_address, session.client_software].filter(Boolean).join("\n")}>{session.client_address}</span>
      <span role="gridcell" data-column="protocol">{session.protocol}</span>
      <span role="gridcell" data-column="start_time"><Timestamp time={session.start_time} now={now} /></span>
      <span role="gridcell" data-column="duration">{session.termination ? t("ending") : formatDuration(now - Date.parse(session.start_time))}</span>
      <span role="gridcell" data-column="idle" title={traffic ?? t("idleUnknown")}>{idle === null ? "–" : formatCoarseDuration(idle, t.language)}</span>
      <span role="gridcell" data-column="gateway" title={session.gateway}><bdi>{session.gateway}</bdi></span>
      <span role="gridcell" data-column="act">
        <button
          type="button" className="tool" tabIndex={-1} aria-label={t("terminateThis", session.user, session.target)} disabled={lacking !== null || session.termination !== undefined}
          title={lacking ?? t("terminate")} onClick={() => onEnd([session])}
        >
          <Icon name="close" size={16} />
        </button>
      </span>
    </>
  );
}
