// The way to a session's recordings; where it is shut, it says why.

import type { ReactNode } from "react";
import type { Me, Session } from "../api";
import { isPlayable } from "../pages/playable";
import { useSay } from "../words";
import { Icon } from "./Icon";
import { Link } from "./Link";

export function Play({ session, me, small = false }: { session: Session; me: Me; small?: boolean }): ReactNode {
  const say = useSay();
  const may = me.rights.observe;
  const lacking = may?.allowed === false ? (may.reason ?? say("mayNotPlay")) : isPlayable(session) ? null : say("nothingToPlay");
  const label = say("playThis", session.user, session.target);
  const face = <><Icon name="play" size={16} />{!small && ` ${say("play")}`}</>;
  const look = small ? "tool" : "button";
  if (lacking !== null) return <button type="button" className={small ? "tool" : ""} disabled title={lacking} aria-label={small ? `${label}: ${lacking}` : undefined}>{face}</button>;
  return <Link to={`/recordings/${encodeURIComponent(session.name)}?id=${encodeURIComponent(session.session_id)}`} className={look} label={label}>{face}</Link>;
}
