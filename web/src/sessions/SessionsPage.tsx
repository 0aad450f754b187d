// The page of online sessions. Updates of the feed keep its page, scroll position, filters and selection.

import { type ReactNode, useCallback, useMemo, useState } from "react";
import type { CurrentUser, Session } from "../api/types";
import { EmptyState } from "../components/EmptyState";
import { PageHeader } from "../components/PageHeader";
import { Pager } from "../components/Pager";
import { useFeedClient, useFeedRefusal, useFeedState } from "../feed/feedContext";
import type { FeedState } from "../feed/feedState";
import { useDelayed } from "../hooks/useDelayed";
import { useTranslation } from "../i18n";
import { useSearchParams } from "../router";
import { ActivityChart } from "./ActivityChart";
import { Filters } from "./Filters";
import { JustEnded } from "./JustEnded";
import { formatQuery, type ListPage, type ListQuery, PAGE_SIZES, parseQuery, selectPage, type UpdateQuery } from "./listQuery";
import { SelectionBar } from "./SelectionBar";
import { SessionTable } from "./SessionTable";
import { TerminateDialog } from "./TerminateDialog";
import { useListLayout } from "./useListLayout";
import { useSelection } from "./useSelection";
import { useTerminationBlocker } from "./useTerminationBlocker";

export function SessionsPage({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const feed = useFeedClient();
  const feedState = useFeedState();
  const [params, setParams] = useSearchParams();
  const text = params.toString();
  const query = useMemo(() => parseQuery(new URLSearchParams(text)), [text]);
  const page = useMemo(() => selectPage(feedState.sessions.values(), query), [feedState.sessions, query]);
  const updateQuery: UpdateQuery = useCallback(
    (change, keepCursor = false) => setParams(formatQuery({ ...query, ...(keepCursor ? {} : { from: null }), ...change }), true),
    [query, setParams],
  );

  const selection = useSelection(feedState.sessions);
  const [isInteracting, setInteracting] = useState(false);
  const [layout, showCurrent] = useListLayout(page, query, feedState, isInteracting || selection.sessions.length > 0, text);
  const [terminating, setTerminating] = useState<readonly Session[] | null>(null);
  const terminationBlocker = useTerminationBlocker(me);
  return (
    <main className="page sessions">
      <PageHeader title={<><b className={feedState.live ? "count" : "count old"} data-testid="count">{feedState.lastMessageAt ? feedState.sessions.size : "–"}</b> {t("onlineSessions")}</>} lead={<ActivityChart state={feedState} />} />
      {!me.rights.list_sessions.allowed && <p className="notice">{t("ownSessionsOnly", me.rights.list_sessions.reason ?? "")}</p>}
      <Filters query={query} sessions={feedState.sessions} updateQuery={updateQuery} />
      <div className="columns">
        <section className="list" aria-label={t("online")}>
          <SessionTable
            layout={layout} page={page} query={query} updateQuery={updateQuery} selected={selection.ids} toggle={selection.toggle}
            feedState={feedState} terminationBlocker={terminationBlocker}
            onInteraction={setInteracting} onTerminate={setTerminating} onVisible={(names) => feed.watch(names)} onShowCurrent={showCurrent}
          />
          <EmptyList feedState={feedState} rowCount={layout.slots.length} />
          <SelectionBar sessions={selection.sessions} terminationBlocker={terminationBlocker} onTerminate={() => setTerminating(selection.sessions)} onClear={selection.clear} />
          <ListPager page={page} query={query} updateQuery={updateQuery} />
        </section>
        <JustEnded ended={feedState.ended} />
      </div>
      {terminating && <TerminateDialog sessions={terminating} feedState={feedState} onClose={() => setTerminating(null)} />}
    </main>
  );
}

/** Delay before a page without a first snapshot says that it cannot tell who is online. */
const FIRST_SNAPSHOT_GRACE_MS = 3000;

/** Says why the list has no rows. */
function EmptyList({ feedState, rowCount }: { feedState: FeedState; rowCount: number }): ReactNode {
  const t = useTranslation();
  const refusal = useFeedRefusal();
  const awaitsSnapshot = feedState.lastMessageAt === 0;
  const isLate = useDelayed(awaitsSnapshot, FIRST_SNAPSHOT_GRACE_MS);
  if (rowCount > 0) return null;
  if (refusal) return <EmptyState title={t("noRight")} hint={refusal} tone="bad" />;
  if (!feedState.live) return awaitsSnapshot && !isLate ? null : <EmptyState title={t("feedDown")} hint={t("feedDownHint")} tone="bad" />;
  if (feedState.sessions.size === 0) return <EmptyState title={t("noneOnline")} hint={t("noneOnlineHint")} />;
  return <EmptyState title={t("noneMatches")} hint={t("noneMatchesHint", feedState.sessions.size)} />;
}

function ListPager({ page, query, updateQuery }: { page: ListPage; query: ListQuery; updateQuery: UpdateQuery }): ReactNode {
  const t = useTranslation();
  const { rows, offset, total, previous, next } = page;
  return (
    <Pager
      text={total > 0 && t("rows", offset + 1, offset + rows.length, total)} size={query.size} sizes={PAGE_SIZES} firstLabel="toStart" onSize={(size) => updateQuery({ size })}
      onFirst={query.from && (() => updateQuery({ from: null }))}
      onPrevious={offset > 0 ? () => updateQuery({ from: previous }, true) : null}
      onNext={next && (() => updateQuery({ from: next }, true))}
    />
  );
}
