// The link to a session's recordings, or a disabled button that says why there is none.

import type { ReactNode } from "react";
import type { CurrentUser, Session } from "../api/types";
import { useTranslation } from "../i18n";
import { recordingPagePath } from "../routes";
import { Icon } from "./Icon";
import { isPlayable } from "./isPlayable";
import { Link } from "./Link";

export function PlaybackLink({ session, me, small = false }: { session: Session; me: CurrentUser; small?: boolean }): ReactNode {
  const t = useTranslation();
  const permission = me.rights.observe;
  const blocker = permission?.allowed === false ? (permission.reason ?? t("mayNotPlay")) : isPlayable(session) ? null : t("nothingToPlay");
  const label = t("playThis", session.user, session.target);
  const content = <><Icon name="play" size={16} />{!small && ` ${t("play")}`}</>;
  const look = small ? "tool" : "button";
  if (blocker !== null) return <button type="button" className={small ? "tool" : ""} disabled title={blocker} aria-label={small ? `${label}: ${blocker}` : undefined}>{content}</button>;
  return <Link to={recordingPagePath(session.name, { id: session.session_id })} className={look} label={label}>{content}</Link>;
}
