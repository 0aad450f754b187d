// Tiles, each with one number. A tile links to the page that lists what it counts.

import type { ReactNode } from "react";
import type { Overview } from "../../api/types";
import { Link } from "../../components/Link";
import { useFeedState } from "../../feed/feedContext";
import { formatCoarseDuration } from "../../format";
import { type MessageKey, useTranslation } from "../../i18n";
import { formatFieldTime } from "../history/historyQuery";

const DAY_MS = 86_400_000;
/** An end that waits longer than this for the audit database is marked as overdue. */
const OVERDUE_AFTER_SECONDS = 60;

export function OnlineTile(): ReactNode {
  const { lastMessageAt, sessions } = useFeedState();
  return <Tile to="/" value={lastMessageAt ? sessions.size : null} label="onlineSessions" />;
}

interface TileProps {
  to: string;
  /** Null if it is unknown. */
  value: string | number | null;
  label: MessageKey;
  hint?: string | null;
  tone?: "bad" | undefined;
  /** The tooltip. */
  title?: string;
}

function Tile({ to, value, label, hint, tone, title }: TileProps): ReactNode {
  const t = useTranslation();
  return (
    <Link to={to} title={title} className={tone ? `tile paper ${tone}` : "tile paper"}>
      <b>{value ?? <span className="hint">{t("unknown")}</span>}</b>
      <span>{t(label)}</span>
      {hint && <small title={hint}>{hint}</small>}
    </Link>
  );
}

export function CountTiles({ overview, historyBlocker }: { overview: Overview | null; historyBlocker: string | null }): ReactNode {
  const t = useTranslation();
  const since = encodeURIComponent(formatFieldTime(Date.now() - DAY_MS));
  const ends = overview?.ends_by_reason && Object.values(overview.ends_by_reason).reduce((sum, count) => sum + count, 0);
  const oldest = overview?.oldest_unwritten_end;
  return (
    <>
      <Tile to={`/history?since=${since}`} value={overview?.starts ?? null} label="starts24" hint={historyBlocker} />
      <Tile to="/history" value={ends ?? null} label="ends24" hint={historyBlocker} title={t("historyByStart")} />
      <Tile to="/history" value={overview ? overview.audit_backlog : null} label="backlog" />
      <Tile to="/history" value={!overview ? null : oldest == null ? t("nothingWaits") : t("ago", formatCoarseDuration(oldest, t.language))} label="oldestEnd" tone={(oldest ?? 0) > OVERDUE_AFTER_SECONDS ? "bad" : undefined} />
    </>
  );
}
