// How the bastion is, at a glance; each number leads to where it is seen.

import { type ReactNode, useMemo } from "react";
import { type Gateway, type Me, type Overview as Seen, overview, Refused } from "../api";
import { delayText, span } from "../format";
import type { Ended } from "../live/feed";
import { BOUNDS, distribution, ranked } from "../live/figures";
import { useOnline } from "../live/live";
import { Empty } from "../parts/Empty";
import { Head } from "../parts/Head";
import { useAsked } from "../parts/hooks";
import { Link } from "../parts/Link";
import { useSay, type Word } from "../words";
import { fieldTime } from "./past";

const LOOK = 5000;
const DAY = 86_400_000;
/** Gateways give a sign of life every 5 s; one that is this late is worth a look. */
const LATE = 12;
/** The tallest bar, in rem; style/pages.css has the room for it. */
const TALLEST = 5.5;

export function Overview({ me }: { me: Me }): ReactNode {
  const say = useSay();
  const may = me.rights.overview;
  return (
    <main className="page overview">
      <Head title={say("overview")} />
      {may?.allowed === false ? <Own reason={may.reason} /> : <Whole lacking={me.rights.history?.reason ?? null} />}
    </main>
  );
}

/** What the page itself knows, for who may not see more. */
function Own({ reason }: { reason: string | null }): ReactNode {
  const say = useSay();
  const { ended } = useOnline();
  return (
    <>
      <div className="tiles"><OnlineTile /></div>
      <div className="panels">
        <Latency ended={ended} />
        <section className="paper"><Empty title={say("noRight")} hint={reason} /></section>
      </div>
    </>
  );
}

function Whole({ lacking }: { lacking: string | null }): ReactNode {
  const say = useSay();
  const { ended } = useOnline();
  const { answer, error, failure } = useAsked(overview, "overview", LOOK);
  if (failure instanceof Refused && failure.status === 403) return <Own reason={error} />;
  return (
    <>
      {answer && !answer.live && <p className="notice" role="status">{say("notLive")}</p>}
      {error && <p className="notice bad" role="alert">{say("overviewMissing", error)}</p>}
      <div className="tiles">
        <OnlineTile />
        <Counts seen={answer} lacking={lacking} />
      </div>
      <div className="panels">
        <Latency ended={ended} />
        {(answer || !error) && <Ends counts={answer?.ends_by_reason} lacking={lacking} />}
        {(answer || !error) && <Gateways gateways={answer?.gateways} />}
      </div>
    </>
  );
}

function OnlineTile(): ReactNode {
  const { heard, sessions } = useOnline();
  return <Tile to="/" value={heard ? sessions.size : null} word="onlineSessions" />;
}

interface TileProps {
  to: string;
  /** Null where it is not known. */
  value: string | number | null;
  word: Word;
  hint?: string | null;
  tone?: "bad" | undefined;
  /** What is to be known of where it leads. */
  title?: string;
}

function Tile({ to, value, word, hint, tone, title }: TileProps): ReactNode {
  const say = useSay();
  return (
    <Link to={to} title={title} className={tone ? `tile paper ${tone}` : "tile paper"}>
      <b>{value ?? <span className="hint">{say("unknown")}</span>}</b>
      <span>{say(word)}</span>
      {hint && <small title={hint}>{hint}</small>}
    </Link>
  );
}

function Counts({ seen, lacking }: { seen: Seen | null; lacking: string | null }): ReactNode {
  const say = useSay();
  const since = encodeURIComponent(fieldTime(Date.now() - DAY));
  const ends = seen?.ends_by_reason && Object.values(seen.ends_by_reason).reduce((sum, count) => sum + count, 0);
  const oldest = seen?.oldest_unwritten_end;
  return (
    <>
      <Tile to={`/history?since=${since}`} value={seen?.starts ?? null} word="starts24" hint={lacking} />
      <Tile to="/history" value={ends ?? null} word="ends24" hint={lacking} title={say("byStart")} />
      <Tile to="/history" value={seen ? seen.audit_backlog : null} word="backlog" />
      <Tile to="/history" value={!seen ? null : oldest == null ? say("nothingWaits") : say("ago", span(oldest, say.language))} word="oldestEnd" tone={(oldest ?? 0) > 60 ? "bad" : undefined} />
    </>
  );
}

function Ends({ counts, lacking }: { counts: Record<string, number> | null | undefined; lacking: string | null }): ReactNode {
  const say = useSay();
  const rows = counts ? ranked(counts) : [];
  return (
    <section className="paper" aria-labelledby="ends">
      <h2 id="ends">{say("endsByReason")}</h2>
      {counts === undefined && <p className="hint">{say("loading")}</p>}
      {counts === null && <p className="hint">{lacking ?? say("noHistory")}</p>}
      {counts && rows.length === 0 && <p className="hint">{say("noEnds")}</p>}
      <ul className="bars">
        {rows.map(({ name, count, part }) => (
          <li key={name}>
            <Link to={`/history?reason=${encodeURIComponent(name)}`} title={say("byStart")}>
              <span>{say.reason(name)}</span>
              <span className="bar" aria-hidden="true"><i style={{ width: `${part * 100}%` }} /></span>
              <b>{count}</b>
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Latency({ ended }: { ended: readonly Ended[] }): ReactNode {
  const say = useSay();
  const found = useMemo(() => distribution(ended), [ended]);
  const most = Math.max(1, ...(found?.bars ?? []));
  const text = (bound: number): string => (bound < 1000 ? `${bound}\nms` : `${bound / 1000}\ns`);
  return (
    <section className="paper" aria-labelledby="latency">
      <h2 id="latency">{say("shownLatency")}</h2>
      {!found && <p className="hint">{say("shownLatencyNone")}</p>}
      {found && (
        <>
          <p className="figures">
            <Link to="/"><b>{delayText(found.median)}</b> {say("median")}</Link>
            <Link to="/"><b>{delayText(found.p99)}</b> {say("slowest")}</Link>
          </p>
          <ol className="spread">
            {found.bars.map((count, at) => {
              const bound = BOUNDS[at];
              return (
                <li key={at}>
                  <small>{count || ""}</small>
                  <i style={{ height: `${(count / most) * TALLEST}rem` }} />
                  <small>{bound === undefined ? say("longerThan", text(BOUNDS[at - 1] ?? 0)) : say("upToTime", text(bound))}</small>
                </li>
              );
            })}
          </ol>
          <p className="hint">{say("shownLatencyHint", found.count)}</p>
        </>
      )}
    </section>
  );
}

function Gateways({ gateways }: { gateways: readonly Gateway[] | null | undefined }): ReactNode {
  const say = useSay();
  return (
    <section className="paper across" aria-labelledby="gateways">
      <h2 id="gateways">{say("gateways")}</h2>
      {gateways === undefined && <p className="hint">{say("loading")}</p>}
      {gateways === null && <p className="hint">{say("leasesHidden")}</p>}
      {gateways?.length === 0 && <p className="bad">{say("noGateways")}</p>}
      {gateways && gateways.length > 0 && (
        <div className="sheet" role="group" aria-label={say("gateways")} tabIndex={0}>
          <table>
            <thead>
              <tr>
                {(["gateway", "instance", "state", "heartbeat"] as const).map((word) => <th key={word} scope="col">{say(word)}</th>)}
                <th scope="col" className="number">{say("sessions")}</th>
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
function health({ lost, draining, renewed_ago: ago }: Gateway): readonly [Word, string] {
  if (lost) return ["lost", "terminated"];
  if (ago === null || ago > LATE) return ["late", "timeout"];
  return draining ? ["draining", "timeout"] : ["fine", "good"];
}

function GatewayRow({ gateway }: { gateway: Gateway }): ReactNode {
  const say = useSay();
  const [word, tone] = health(gateway);
  const seen = `/?gateway=${encodeURIComponent(gateway.name)}`;
  return (
    <tr>
      <td><Link to={seen}>{gateway.name}</Link></td>
      <td><code>{gateway.instance}</code></td>
      <td><span className={`why ${tone}`}>{say(word)}</span></td>
      <td data-label={say("heartbeat")}>{gateway.renewed_ago === null ? say("unknown") : say("ago", span(gateway.renewed_ago, say.language))}</td>
      <td className="number" data-label={say("sessions")}><Link to={seen} className="link">{gateway.sessions}</Link></td>
    </tr>
  );
}
