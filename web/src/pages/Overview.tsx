// How the bastion is, at a glance; each number leads to where it is seen.

import { type ReactNode, useMemo } from "react";
import { fetchOverview, ApiError } from "../api/client";
import type { GatewayStatus, CurrentUser, Overview as Seen } from "../api/types";
import { formatDelay, formatCoarseDuration } from "../format";
import type { EndedSession } from "../feed/feedState";
import { BUCKET_BOUNDS_MS, delayHistogram, rankCounts } from "../feed/statistics";
import { useFeedState } from "../feed/feedContext";
import { EmptyState } from "../components/EmptyState";
import { PageHeader } from "../components/PageHeader";
import { useFetch } from "../hooks/useFetch";
import { Link } from "../components/Link";
import { useTranslation, type MessageKey } from "../i18n";
import { fieldTime } from "./past";

const LOOK = 5000;
const DAY = 86_400_000;
/** Gateways give a sign of life every 5 s; one that is this late is worth a look. */
const LATE = 12;
/** The tallest bar, in rem; style/pages.css has the room for it. */
const TALLEST = 5.5;

export function Overview({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const may = me.rights.overview;
  return (
    <main className="page overview">
      <PageHeader title={t("overview")} />
      {may?.allowed === false ? <Own reason={may.reason} /> : <Whole lacking={me.rights.history?.reason ?? null} />}
    </main>
  );
}

/** What the page itself knows, for who may not see more. */
function Own({ reason }: { reason: string | null }): ReactNode {
  const t = useTranslation();
  const { ended } = useFeedState();
  return (
    <>
      <div className="tiles"><OnlineTile /></div>
      <div className="panels">
        <Latency ended={ended} />
        <section className="paper"><EmptyState title={t("noRight")} hint={reason} /></section>
      </div>
    </>
  );
}

function Whole({ lacking }: { lacking: string | null }): ReactNode {
  const t = useTranslation();
  const { ended } = useFeedState();
  const { data, errorMessage, error } = useFetch(fetchOverview, "overview", LOOK);
  if (error instanceof ApiError && error.status === 403) return <Own reason={errorMessage} />;
  return (
    <>
      {data && !data.live && <p className="notice" role="status">{t("notLive")}</p>}
      {errorMessage && <p className="notice bad" role="alert">{t("overviewMissing", errorMessage)}</p>}
      <div className="tiles">
        <OnlineTile />
        <Counts seen={data} lacking={lacking} />
      </div>
      <div className="panels">
        <Latency ended={ended} />
        {(data || !errorMessage) && <Ends counts={data?.ends_by_reason} lacking={lacking} />}
        {(data || !errorMessage) && <Gateways gateways={data?.gateways} />}
      </div>
    </>
  );
}

function OnlineTile(): ReactNode {
  const { lastMessageAt, sessions } = useFeedState();
  return <Tile to="/" value={lastMessageAt ? sessions.size : null} word="onlineSessions" />;
}

interface TileProps {
  to: string;
  /** Null where it is not known. */
  value: string | number | null;
  word: MessageKey;
  hint?: string | null;
  tone?: "bad" | undefined;
  /** What is to be known of where it leads. */
  title?: string;
}

function Tile({ to, value, word, hint, tone, title }: TileProps): ReactNode {
  const t = useTranslation();
  return (
    <Link to={to} title={title} className={tone ? `tile paper ${tone}` : "tile paper"}>
      <b>{value ?? <span className="hint">{t("unknown")}</span>}</b>
      <span>{t(word)}</span>
      {hint && <small title={hint}>{hint}</small>}
    </Link>
  );
}

function Counts({ seen, lacking }: { seen: Seen | null; lacking: string | null }): ReactNode {
  const t = useTranslation();
  const since = encodeURIComponent(fieldTime(Date.now() - DAY));
  const ends = seen?.ends_by_reason && Object.values(seen.ends_by_reason).reduce((sum, count) => sum + count, 0);
  const oldest = seen?.oldest_unwritten_end;
  return (
    <>
      <Tile to={`/history?since=${since}`} value={seen?.starts ?? null} word="starts24" hint={lacking} />
      <Tile to="/history" value={ends ?? null} word="ends24" hint={lacking} title={t("byStart")} />
      <Tile to="/history" value={seen ? seen.audit_backlog : null} word="backlog" />
      <Tile to="/history" value={!seen ? null : oldest == null ? t("nothingWaits") : t("ago", formatCoarseDuration(oldest, t.language))} word="oldestEnd" tone={(oldest ?? 0) > 60 ? "bad" : undefined} />
    </>
  );
}

function Ends({ counts, lacking }: { counts: Record<string, number> | null | undefined; lacking: string | null }): ReactNode {
  const t = useTranslation();
  const rows = counts ? rankCounts(counts) : [];
  return (
    <section className="paper" aria-labelledby="ends">
      <h2 id="ends">{t("endsByReason")}</h2>
      {counts === undefined && <p className="hint">{t("loading")}</p>}
      {counts === null && <p className="hint">{lacking ?? t("noHistory")}</p>}
      {counts && rows.length === 0 && <p className="hint">{t("noEnds")}</p>}
      <ul className="bars">
        {rows.map(({ name, count, fraction }) => (
          <li key={name}>
            <Link to={`/history?reason=${encodeURIComponent(name)}`} title={t("byStart")}>
              <span>{t.reason(name)}</span>
              <span className="bar" aria-hidden="true"><i style={{ width: `${fraction * 100}%` }} /></span>
              <b>{count}</b>
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Latency({ ended }: { ended: readonly EndedSession[] }): ReactNode {
  const t = useTranslation();
  const found = useMemo(() => delayHistogram(ended), [ended]);
  const most = Math.max(1, ...(found?.buckets ?? []));
  const text = (bound: number): string => (bound < 1000 ? `${bound}\nms` : `${bound / 1000}\ns`);
  return (
    <section className="paper" aria-labelledby="latency">
      <h2 id="latency">{t("shownLatency")}</h2>
      {!found && <p className="hint">{t("shownLatencyNone")}</p>}
      {found && (
        <>
          <p className="figures">
            <Link to="/"><b>{formatDelay(found.median)}</b> {t("median")}</Link>
            <Link to="/"><b>{formatDelay(found.p99)}</b> {t("slowest")}</Link>
          </p>
          <ol className="spread">
            {found.buckets.map((count, at) => {
              const bound = BUCKET_BOUNDS_MS[at];
              return (
                <li key={at}>
                  <small>{count || ""}</small>
                  <i style={{ height: `${(count / most) * TALLEST}rem` }} />
                  <small>{bound === undefined ? t("longerThan", text(BUCKET_BOUNDS_MS[at - 1] ?? 0)) : t("upToTime", text(bound))}</small>
                </li>
              );
            })}
          </ol>
          <p className="hint">{t("shownLatencyHint", found.count)}</p>
        </>
      )}
    </section>
  );
}

function Gateways({ gateways }: { gateways: readonly GatewayStatus[] | null | undefined }): ReactNode {
  const t = useTranslation();
  return (
    <section className="paper across" aria-labelledby="gateways">
      <h2 id="gateways">{t("gateways")}</h2>
      {gateways === undefined && <p className="hint">{t("loading")}</p>}
      {gateways === null && <p className="hint">{t("leasesHidden")}</p>}
      {gateways?.length === 0 && <p className="bad">{t("noGateways")}</p>}
      {gateways && gateways.length > 0 && (
        <div className="sheet" role="group" aria-label={t("gateways")} tabIndex={0}>
          <table>
            <thead>
              <tr>
                {(["gateway", "instance", "state", "heartbeat"] as const).map((word) => <th key={word} scope="col">{t(word)}</th>)}
                <th scope="col" className="number">{t("sessions")}</th>
              </tr>
            </thead>
            <tbody>{gateways.map((it) => <GatewayRow key={it.instance} gateway={it} />)}</tbody>
          </table>
        </div>
      )}
    </section>
  );
}

/** How a gateway is, in one word and a colour. */
function health({ lost, draining, renewed_ago: ago }: GatewayStatus): readonly [MessageKey, string] {
  if (lost) return ["lost", "terminated"];
  if (ago === null || ago > LATE) return ["late", "timeout"];
  return draining ? ["draining", "timeout"] : ["healthy", "good"];
}

function GatewayRow({ gateway }: { gateway: GatewayStatus }): ReactNode {
  const t = useTranslation();
  const [word, tone] = health(gateway);
  const seen = `/?gateway=${encodeURIComponent(gateway.name)}`;
  return (
    <tr>
      <td><Link to={seen}>{gateway.name}</Link></td>
      <td><code>{gateway.instance}</code></td>
      <td><span className={`why ${tone}`}>{t(word)}</span></td>
      <td data-label={t("heartbeat")}>{gateway.renewed_ago === null ? t("unknown") : t("ago", formatCoarseDuration(gateway.renewed_ago, t.language))}</td>
      <td className="number" data-label={t("sessions")}><Link to={seen} className="link">{gateway.sessions}</Link></td>
    </tr>
  );
}
