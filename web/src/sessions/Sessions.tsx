// The sessions that are online. Updates move neither the page nor the scroll, the filter or what is selected.

import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { CurrentUser, Session } from "../api/types";
import type { Online } from "../live/feed";
import { useFeed, useOnline, useRefusal } from "../live/live";
import { MultiSelect } from "../components/MultiSelect";
import { EmptyState } from "../components/EmptyState";
import { PageHeader } from "../components/PageHeader";
import { Icon } from "../components/Icon";
import { useSearchParams } from "../router";
import { useTranslation } from "../i18n";
import { JustEnded } from "./JustEnded";
import { Pulse } from "./Pulse";
import { choices, FILTERS, page, type Page, type Query, read, SIZES, SORTS, USUAL, write } from "./query";
import { fresh, held, type Slots } from "./slots";
import { SORT_WORDS, Table } from "./Table";
import { TerminateDialog } from "./TerminateDialog";

export type Ask = (change: Partial<Query>, keep?: boolean) => void;

export function Sessions({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const feed = useFeed();
  const online = useOnline();
  const [params, setParams] = useSearchParams();
  const text = params.toString();
  const query = useMemo(() => read(new URLSearchParams(text)), [text]);
  const shown = useMemo(() => page(online.sessions.values(), query), [online.sessions, query]);
  const ask: Ask = useCallback(
    (change, keep = false) => setParams(write({ ...query, ...(keep ? {} : { from: null }), ...change }), true),
    [query, setParams],
  );

  const selection = useSelection(online.sessions);
  const [busy, setBusy] = useState(false);
  const [layout, settle] = useSlots(shown, query, online, busy || selection.chosen.length > 0, text);
  const [doomed, setDoomed] = useState<readonly Session[] | null>(null);
  const may = useMay(me);

  const lead = <Pulse online={online} />;
  return (
    <main className="page sessions">
      <PageHeader title={<><b className={online.live ? "count" : "count old"} data-testid="count">{online.heard ? online.sessions.size : "–"}</b> {t("onlineSessions")}</>} lead={lead} />
      {!me.rights.list_sessions.allowed && <p className="notice">{t("own", me.rights.list_sessions.reason ?? "")}</p>}
      <Filters query={query} sessions={online.sessions} ask={ask} />
      <div className="columns">
        <section className="list" aria-label={t("online")}>
          <Table
            layout={layout} shown={shown} query={query} ask={ask} selected={selection.ids} toggle={selection.toggle} online={online} may={may}
            onBusy={setBusy} onEnd={setDoomed} onVisible={(names) => feed.watch(names)} onSettle={settle}
          />
          <WhyEmpty online={online} slots={layout.slots.length} />
          <Chosen chosen={selection.chosen} may={may} onEnd={() => setDoomed(selection.chosen)} onNone={selection.clear} />
          <Pager shown={shown} query={query} ask={ask} />
        </section>
        <JustEnded ended={online.ended} />
      </div>
      {doomed && <TerminateDialog sessions={doomed} online={online} onClose={() => setDoomed(null)} />}
    </main>
  );
}

/** Why this person may not end a session; null where they may. */
export type MayEnd = (session: Session) => string | null;

export function useMay(me: CurrentUser): MayEnd {
  const { allowed, reason } = me.rights.terminate_sessions;
  return useCallback((session) => (allowed || session.subject === me.user ? null : (reason ?? "")), [allowed, reason, me.user]);
}

interface Selection {
  ids: ReadonlySet<string>;
  /** Those of them that are online. */
  chosen: readonly Session[];
  toggle: (ids: readonly string[], on: boolean) => void;
  clear: () => void;
}

function useSelection(sessions: ReadonlyMap<string, Session>): Selection {
  const [ids, setIds] = useState<ReadonlySet<string>>(new Set());
  const chosen = useMemo(() => [...ids].flatMap((id) => sessions.get(id) ?? []), [ids, sessions]);
  const toggle = useCallback((changed: readonly string[], on: boolean) => {
    setIds((before) => {
      const after = new Set(before);
      for (const id of changed) if (on) after.add(id); else after.delete(id);
      return after;
    });
  }, []);
  const clear = useCallback(() => setIds(new Set()), []);
  return { ids, chosen, toggle, clear };
}

/** What stands where: as it is, or while somebody works in it as it was. */
function useSlots(shown: Page, query: Query, online: Online, working: boolean, key: string): [Slots, () => void] {
  const [round, setRound] = useState(0);
  const kept = useRef<{ key: string; slots: Slots } | null>(null);
  const settle = useCallback(() => setRound((before) => before + 1), []);
  const now = `${key} ${round}`;
  const layout = useMemo(() => {
    const before = kept.current;
    if (!working || before?.key !== now || before.slots.slots.length === 0) return fresh(shown);
    return held(before.slots.slots, shown, query, online.sessions, online.ended);
  }, [shown, query, online, working, now]);
  useEffect(() => {
    kept.current = { key: now, slots: layout };
  }, [now, layout]);
  return [layout, settle];
}

function Filters({ query, sessions, ask }: { query: Query; sessions: ReadonlyMap<string, Session>; ask: Ask }): ReactNode {
  const t = useTranslation();
  const search = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const press = (event: KeyboardEvent): void => {
      const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
      if (event.key !== "/" || typing || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      search.current?.focus();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
  const found = useMemo(() => choices(sessions.values(), query), [sessions, query]);
  const any = query.search !== "" || FILTERS.some((name) => query.filters[name].length > 0);
  return (
    <div className="filters" role="search">
      <label className="search">
        <Icon name="search" size={16} />
        <input ref={search} type="search" placeholder={t("searchHint")} aria-label={t("search")} aria-keyshortcuts="/" value={query.search} onChange={(event) => ask({ search: event.target.value })} />
        <kbd aria-hidden="true">/</kbd>
      </label>
      {FILTERS.map((name) => (
        <MultiSelect key={name} label={t(name)} options={found[name]} selected={query.filters[name]} onChange={(values) => ask({ filters: { ...query.filters, [name]: values } })} />
      ))}
      <label className="sort">
        {t("sortBy")}{" "}
        <select value={query.sort} onChange={(event) => ask({ sort: SORTS.find((it) => it === event.target.value) ?? USUAL.sort })}>
          {SORTS.map((sort) => <option key={sort} value={sort}>{t(SORT_WORDS[sort])}</option>)}
        </select>
      </label>
      {any && <button type="button" className="quiet" onClick={() => ask({ search: "", filters: USUAL.filters })}>{t("clearFilters")}</button>}
    </div>
  );
}

/** What is ticked, and what can be done with it; it lies over the list and moves nothing. */
function Chosen({ chosen, may, onEnd, onNone }: { chosen: readonly Session[]; may: MayEnd; onEnd: () => void; onNone: () => void }): ReactNode {
  const t = useTranslation();
  const lacking = chosen.map(may).find((it) => it !== null) ?? null;
  return (
    <div className={chosen.length > 0 ? "chosen" : "chosen none"} aria-live="polite">
      {chosen.length > 0 && (
        <>
          <strong>{t("selected", chosen.length)}</strong>
          {lacking !== null && <span className="hint">{lacking}</span>}
          <button type="button" className="danger" disabled={lacking !== null} title={lacking ?? undefined} onClick={onEnd}>{t("terminate")}</button>
          <button type="button" className="tool" aria-label={t("clearSelection")} title={t("clearSelection")} onClick={onNone}><Icon name="close" /></button>
        </>
      )}
    </div>
  );
}

function WhyEmpty({ online, slots }: { online: Online; slots: number }): ReactNode {
  const t = useTranslation();
  const refusal = useRefusal();
  if (slots > 0) return null;
  if (refusal) return <EmptyState title={t("noRight")} hint={refusal} tone="bad" />;
  if (!online.live) return online.heard === 0 && !refusal ? <Waiting /> : <EmptyState title={t("feedDown")} hint={t("feedDownHint")} tone="bad" />;
  if (online.sessions.size === 0) return <EmptyState title={t("noneOnline")} hint={t("noneOnlineHint")} />;
  return <EmptyState title={t("noneMatches")} hint={t("noneMatchesHint", online.sessions.size)} />;
}

/** How long the first picture may take before its lack is said. */
const FIRST = 3000;

function Waiting(): ReactNode {
  const t = useTranslation();
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = window.setTimeout(() => setLate(true), FIRST);
    return () => window.clearTimeout(timer);
  }, []);
  return late ? <EmptyState title={t("feedDown")} hint={t("feedDownHint")} tone="bad" /> : null;
}

function Pager({ shown, query, ask }: { shown: Page; query: Query; ask: Ask }): ReactNode {
  const t = useTranslation();
  const { rows, before, total, previous, next } = shown;
  return (
    <div className="pager">
      <span data-testid="range">{total > 0 && t("rows", before + 1, before + rows.length, total)}</span>
      <span className="fill" />
      <label>
        <span className="wide">{t("perPage")}</span>{" "}
        <select aria-label={t("perPage")} value={query.size} onChange={(event) => ask({ size: Number(event.target.value) })}>
          {SIZES.map((size) => <option key={size}>{size}</option>)}
        </select>
      </label>
      <button type="button" className="tool" aria-label={t("toStart")} title={t("toStart")} disabled={!query.from} onClick={() => ask({ from: null })}><Icon name="first" /></button>
      <button type="button" className="tool" aria-label={t("previous")} title={t("previous")} disabled={before === 0} onClick={() => ask({ from: previous }, true)}><Icon name="left" /></button>
      <button type="button" className="tool" aria-label={t("next")} title={t("next")} disabled={!next} onClick={() => ask({ from: next }, true)}><Icon name="right" /></button>
    </div>
  );
}
