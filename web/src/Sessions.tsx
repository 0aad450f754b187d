// The sessions that are online. Updates move neither the page nor the scroll, the filter or what is selected.

import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { useVirtualizer } from "@tanstack/react-virtual";
import type { Me, Session } from "./api";
import { Feed } from "./connection";
import { delay, type Ended, type Online } from "./feed";
import { delayText, duration, local, utc, zone } from "./format";
import { choices, FILTERS, type Filter, page, place, type Query, read, SIZES, type Sort, USUAL, write } from "./query";
import { Link } from "./Link";
import { TerminateDialog } from "./TerminateDialog";
import { useParams } from "./url";
import { useSay } from "./words";

const ROW = 40;

export function Sessions({ me, onOut }: { me: Me; onOut: () => void }): ReactNode {
  const [feed] = useState(() => new Feed());
  useEffect(() => {
    feed.open();
    return () => feed.close();
  }, [feed]);
  const online = useSyncExternalStore(feed.subscribe, feed.snapshot);
  const refusal = useSyncExternalStore(feed.subscribe, feed.refusal);
  useEffect(() => {
    if (refusal && me.expires && Date.parse(me.expires) <= Date.now()) onOut();
  }, [refusal, me, onOut]);

  const [params, setParams] = useParams();
  const text = params.toString();
  const query = useMemo(() => read(new URLSearchParams(text)), [text]);
  const shown = useMemo(() => page(online.sessions.values(), query), [online.sessions, query]);
  const ask = useCallback(
    (change: Partial<Query>, keep = false) => setParams(write({ ...query, ...(keep ? {} : { from: null }), ...change }), true),
    [query, setParams],
  );

  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [doomed, setDoomed] = useState<readonly Session[] | null>(null);
  const chosen = useMemo(() => [...selected].flatMap((id) => online.sessions.get(id) ?? []), [selected, online.sessions]);
  // While somebody works on the page it keeps its place: it begins with the row that it begins with now.
  const hold = useCallback(() => {
    const first = shown.rows[0];
    if (!query.from && first) ask({ from: place(first, query.sort) }, true);
  }, [shown, query, ask]);
  const toggle = useCallback(
    (ids: readonly string[], on: boolean) => {
      setSelected((before) => {
        const after = new Set(before);
        for (const id of ids) if (on) after.add(id); else after.delete(id);
        return after;
      });
      hold();
    },
    [hold],
  );

  return (
    <main className="sessions">
      <Head me={me} online={online} refusal={refusal} />
      <Filters query={query} sessions={online.sessions} ask={ask} />
      <Actions me={me} chosen={chosen} onEnd={() => setDoomed(chosen)} onNone={() => setSelected(new Set())} />
      <div className="columns">
        <section className="list" aria-label={useSay()("online")}>
          <Table rows={shown.rows} total={shown.total} before={shown.before} query={query} ask={ask} selected={selected} toggle={toggle} hold={hold} dim={!online.live} />
          <Empty online={online} total={shown.total} refusal={refusal} />
          <Pager shown={shown} query={query} ask={ask} />
        </section>
        <JustEnded ended={online.ended} />
      </div>
      {doomed && <TerminateDialog sessions={doomed} online={online.sessions} onClose={() => setDoomed(null)} />}
    </main>
  );
}

function Head({ me, online, refusal }: { me: Me; online: Online; refusal: string | null }): ReactNode {
  const say = useSay();
  const own = me.rights.list_sessions;
  return (
    <div className="head">
      <h1>
        {say("online")} <span className="count" data-testid="count">{online.sessions.size}</span>
      </h1>
      <span className={online.live ? "mark live" : "mark old"} role="status">
        {online.live ? say("live") : (refusal ?? say("reconnecting"))}
      </span>
      <span className="hint">{say("zoneHint", zone(say.language))}</span>
      {!own.allowed && <p className="hint">{say("own", own.reason ?? "")}</p>}
    </div>
  );
}

type Ask = (change: Partial<Query>, keep?: boolean) => void;

function Filters({ query, sessions, ask }: { query: Query; sessions: ReadonlyMap<string, Session>; ask: Ask }): ReactNode {
  const say = useSay();
  const found = useMemo(() => choices(sessions.values(), query), [sessions, query]);
  const any = query.search !== "" || FILTERS.some((name) => query.filters[name].length > 0);
  return (
    <div className="filters" role="search">
      <input type="search" placeholder={say("search")} aria-label={say("search")} value={query.search} onChange={(event) => ask({ search: event.target.value })} />
      {FILTERS.map((name) => (
        <Choice key={name} name={name} options={found[name]} chosen={query.filters[name]} onChange={(values) => ask({ filters: { ...query.filters, [name]: values } })} />
      ))}
      {any && <button type="button" className="quiet" onClick={() => ask({ search: "", filters: USUAL.filters })}>{say("clearFilters")}</button>}
    </div>
  );
}

function Choice({ name, options, chosen, onChange }: { name: Filter; options: string[]; chosen: readonly string[]; onChange: (values: string[]) => void }): ReactNode {
  const say = useSay();
  return (
    <details className="choice" name="filter">
      <summary>
        {say(name)}: {chosen.length === 0 ? say("all") : chosen.join(", ")}
      </summary>
      <ul>
        {options.map((option) => (
          <li key={option}>
            <label>
              <input type="checkbox" checked={chosen.includes(option)} onChange={(event) => onChange(event.target.checked ? [...chosen, option] : chosen.filter((it) => it !== option))} /> {option}
            </label>
          </li>
        ))}
      </ul>
    </details>
  );
}

function Actions({ me, chosen, onEnd, onNone }: { me: Me; chosen: readonly Session[]; onEnd: () => void; onNone: () => void }): ReactNode {
  const say = useSay();
  const { allowed, reason } = me.rights.terminate_sessions;
  const may = allowed || chosen.every((session) => session.subject === me.user);
  return (
    <div className="actions">
      <button type="button" className="danger" disabled={chosen.length === 0 || !may} title={may ? undefined : (reason ?? undefined)} onClick={onEnd}>
        {say("terminate")}
      </button>
      <span aria-live="polite">{chosen.length > 0 && say("selected", chosen.length)}</span>
      {chosen.length > 0 && <button type="button" className="quiet" onClick={onNone}>×<span className="unseen">{say("cancel")}</span></button>}
      {!may && <span className="hint">{reason}</span>}
    </div>
  );
}

const COLUMNS: readonly (readonly [Sort | null, "user" | "target" | "login" | "client" | "protocol" | "started" | "duration" | "gateway"])[] = [
  ["user", "user"], ["target", "target"], ["login", "login"], ["client_address", "client"], ["protocol", "protocol"],
  ["start_time", "started"], [null, "duration"], ["gateway", "gateway"],
];

interface TableProps {
  rows: readonly Session[];
  total: number;
  before: number;
  query: Query;
  ask: Ask;
  selected: ReadonlySet<string>;
  toggle: (ids: readonly string[], on: boolean) => void;
  hold: () => void;
  dim: boolean;
}

function Table({ rows, total, before, query, ask, selected, toggle, hold, dim }: TableProps): ReactNode {
  const say = useSay();
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 12,
    getItemKey: (index) => rows[index]?.session_id ?? index,
  });
  const all = rows.length > 0 && rows.every((session) => selected.has(session.session_id));
  const now = useNow();
  return (
    <div className={dim ? "table dim" : "table"} role="table" aria-rowcount={total + 1} ref={scroller} tabIndex={0} onScroll={(event) => event.currentTarget.scrollTop > 0 && hold()}>
      <div className="row header" role="row" aria-rowindex={1}>
        <span role="columnheader">
          <input type="checkbox" aria-label={say("selectAll")} checked={all} onChange={(event) => toggle(rows.map((it) => it.session_id), event.target.checked)} />
        </span>
        {COLUMNS.map(([sort, word]) => (
          <span key={word} role="columnheader" aria-sort={sort !== query.sort ? undefined : query.descending ? "descending" : "ascending"}>
            {sort ? (
              <button type="button" onClick={() => ask({ sort, descending: sort === query.sort ? !query.descending : sort === "start_time" })}>
                {say(word)} {sort === query.sort ? (query.descending ? "↓" : "↑") : ""}
              </button>
            ) : say(word)}
          </span>
        ))}
      </div>
      <div className="rows" role="rowgroup" style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((item) => {
          const session = rows[item.index];
          return session && <Row key={item.key} session={session} top={item.start} index={before + item.index + 2} now={now} on={selected.has(session.session_id)} toggle={toggle} />;
        })}
      </div>
    </div>
  );
}

function Row({ session, top, index, now, on, toggle }: { session: Session; top: number; index: number; now: number; on: boolean; toggle: TableProps["toggle"] }): ReactNode {
  const say = useSay();
  return (
    <div className={session.termination ? "row ending" : "row"} role="row" aria-rowindex={index} data-name={session.name} style={{ transform: `translateY(${top}px)` }}>
      <span role="cell">
        <input type="checkbox" aria-label={say("select", session.user, session.target)} checked={on} onChange={(event) => toggle([session.session_id], event.target.checked)} />
      </span>
      <span role="cell" title={session.subject}><Link to={`/sessions/${session.name}`}>{session.user}</Link></span>
      <span role="cell">{session.target}</span>
      <span role="cell">{session.login}</span>
      <span role="cell" title={session.client_software ?? undefined}>{session.client_address}</span>
      <span role="cell">{session.protocol}</span>
      <span role="cell" title={utc(session.start_time)}>{local(session.start_time)}</span>
      <span role="cell" className="number">{session.termination ? say("ending") : duration(now - Date.parse(session.start_time))}</span>
      <span role="cell" title={session.gateway}>{session.gateway}</span>
    </div>
  );
}

/** The time, as it goes by. */
function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const clock = window.setInterval(() => setNow(Date.now()), 1000);
    return () => window.clearInterval(clock);
  }, []);
  return now;
}

function Empty({ online, total, refusal }: { online: Online; total: number; refusal: string | null }): ReactNode {
  const say = useSay();
  if (total > 0) return null;
  if (refusal) return <p className="empty" role="alert">{refusal}</p>;
  if (!online.live) return <p className="empty">{say(online.sequence === 0 && online.ahead === Number.POSITIVE_INFINITY ? "loading" : "feedDown")}</p>;
  return <p className="empty">{say(online.sessions.size === 0 ? "noneOnline" : "noneMatches")}</p>;
}

function Pager({ shown, query, ask }: { shown: ReturnType<typeof page>; query: Query; ask: Ask }): ReactNode {
  const say = useSay();
  const { rows, before, total, previous, next } = shown;
  return (
    <div className="pager">
      {total > 0 && <span data-testid="range">{say("rows", before + 1, before + rows.length, total)}</span>}
      {query.from && <button type="button" className="quiet" onClick={() => ask({ from: null })}>{say("newer", before)}</button>}
      <span className="fill" />
      <label className="hint">
        {say("perPage")}{" "}
        <select value={query.size} onChange={(event) => ask({ size: Number(event.target.value) })}>
          {SIZES.map((size) => <option key={size}>{size}</option>)}
        </select>
      </label>
      <button type="button" disabled={before === 0} onClick={() => ask({ from: previous }, true)}>{say("previous")}</button>
      <button type="button" disabled={!next} onClick={() => ask({ from: next }, true)}>{say("next")}</button>
    </div>
  );
}

function JustEnded({ ended }: { ended: readonly Ended[] }): ReactNode {
  const say = useSay();
  return (
    <aside className="ended" aria-label={say("justEnded")}>
      <h2>{say("justEnded")}</h2>
      <ul>
        {ended.map((it) => {
          const took = delay(it);
          const { session } = it;
          return (
            <li key={session.session_id} data-ended={session.name}>
              <span><strong><Link to={`/sessions/${session.name}`}>{session.user}</Link></strong> → {session.target}</span>
              <span className={`why ${session.status}`} title={session.message ?? undefined}>{say.reason(session.reason)}</span>
              <span className="hint">
                {session.terminated_by && `${say("by", session.terminated_by)} · `}
                {session.end_time && <time dateTime={session.end_time} title={utc(session.end_time)}>{local(session.end_time).slice(-8)}</time>}
                {took !== null && ` · ${say("shownAfter", delayText(took))}`}
              </span>
            </li>
          );
        })}
      </ul>
    </aside>
  );
}
