// A row of the list. It shows an online session, or a session that ended while the rows were frozen.

import { memo, type ReactNode } from "react";
import type { Session } from "../api/types";
import { Icon } from "../components/Icon";
import { Link } from "../components/Link";
import { Timestamp } from "../components/Timestamp";
import { type EndedSession, idleSeconds, type TimedActivity } from "../feed/feedState";
import { formatBytes, formatCoarseDuration, formatDuration } from "../format";
import { useTranslation } from "../i18n";
import { sessionPagePath } from "../routes";
import type { Slot } from "./listLayout";

interface SessionRowProps {
  slot: Slot;
  top: number;
  index: number;
  now: number;
  isSelected: boolean;
  /** Whether this row is the one on which the keyboard acts. */
  isActive: boolean;
  activity: TimedActivity | undefined;
  /** Why the user may not terminate the session; null if they may. */
  blocker: string | null;
  toggle: (ids: readonly string[], isSelected: boolean) => void;
  onTerminate: (sessions: readonly Session[]) => void;
}

export const SessionRow = memo(function SessionRow(props: SessionRowProps): ReactNode {
  const { slot, top, index, isSelected, isActive } = props;
  const style = { transform: `translateY(${top}px)` };
  const id = `row-${slot.id}`;
  if (slot.ended) return <div className={isActive ? "row gone active" : "row gone"} id={id} role="row" aria-rowindex={index} style={style}><EndedRow ended={slot.ended} /></div>;
  const { session } = slot;
  const className = ["row", isSelected && "on", isActive && "active", session.termination && "ending"].filter(Boolean).join(" ");
  return (
    <div className={className} id={id} role="row" aria-rowindex={index} aria-selected={isSelected} data-name={session.name} style={style}>
      <Cells {...props} session={session} />
    </div>
  );
});

function EndedRow({ ended: { session, shownAt } }: { ended: EndedSession }): ReactNode {
  const t = useTranslation();
  const reason = shownAt === 0 ? t("noLongerListed") : t.reason(session.reason);
  return <span role="gridcell" className={`status ${session.status}`}>{session.user} → {session.target} · {reason}</span>;
}

function Cells({ session, now, isSelected, activity, blocker, toggle, onTerminate }: SessionRowProps & { session: Session }): ReactNode {
  const t = useTranslation();
  const idle = idleSeconds(activity, now);
  const traffic = activity && `↑ ${formatBytes(activity.bytes_in)} ↓ ${formatBytes(activity.bytes_out)}`;
  return (
    <>
      <span role="gridcell">
        <input type="checkbox" tabIndex={-1} aria-label={t("select", session.user, session.target)} checked={isSelected} onChange={(event) => toggle([session.session_id], event.target.checked)} />
      </span>
      <span role="gridcell" data-column="user" title={session.subject}>
        <Link to={sessionPagePath(session.name)} label={t("openSession", session.user, session.target)} skipTabOrder>{session.user}</Link>
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
          type="button" className="tool" tabIndex={-1} aria-label={t("terminateThis", session.user, session.target)} disabled={blocker !== null || session.termination !== undefined}
          title={blocker ?? t("terminate")} onClick={() => onTerminate([session])}
        >
          <Icon name="close" size={16} />
        </button>
      </span>
    </>
  );
}
