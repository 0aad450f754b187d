// The history page: records from the audit database, newest first.

import { type FormEvent, type ReactNode, useRef } from "react";
import { fetchHistory, hasStatus, historyCsvPath } from "../../api/client";
import type { CurrentUser, Session } from "../../api/types";
import { EmptyState } from "../../components/EmptyState";
import { Icon } from "../../components/Icon";
import { isPlayable } from "../../components/isPlayable";
import { Link } from "../../components/Link";
import { PageHeader } from "../../components/PageHeader";
import { Pager } from "../../components/Pager";
import { PlaybackLink } from "../../components/PlaybackLink";
import { Timestamp } from "../../components/Timestamp";
import { formatBytes, formatDuration, formatUtcTime } from "../../format";
import { useFetch } from "../../hooks/useFetch";
import { type MessageKey, useTranslation } from "../../i18n";
import { REASONS } from "../../i18n/reasons";
import { useSearchParams } from "../../router";
import { sessionPagePath } from "../../routes";
import { apiFilters, apiPageQuery, FILTER_FIELDS, formToParams, PAGE_SIZES, pageSize } from "./historyQuery";

const STATUSES = ["active", "closed", "timeout", "terminated"] as const;
const TEXT_FILTERS: readonly (readonly [string, MessageKey])[] = [["user", "user"], ["target", "target"], ["login", "login"], ["client_address", "clientAddress"]];
const COLUMNS: readonly MessageKey[] = ["user", "target", "login", "client", "status", "reason", "started"];

export function HistoryPage({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const { list_sessions: all, history } = me.rights;
  const isUnavailable = history?.allowed === false;
  return (
    <main className="page history">
      <PageHeader title={t("history")} />
      {!all.allowed && <p className="notice">{t("ownSessionsOnly", all.reason ?? "")}</p>}
      {isUnavailable ? <EmptyState title={t("noHistory")} hint={history.reason} /> : <Records me={me} />}
    </main>
  );
}

function Records({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const [params] = useSearchParams();
  const query = apiPageQuery(params);
  const { data, errorMessage, error, isPending } = useFetch(() => fetchHistory(query), query.toString());
  const rows = data?.sessions ?? [];
  const isForbidden = hasStatus(error, 403);
  return (
    <>
      <HistoryFilters />
      {errorMessage && <EmptyState title={t(isForbidden ? "noRight" : "historyFails")} hint={errorMessage} tone="bad" />}
      {!errorMessage && !data && <p className="hint" role="status">{t("loading")}</p>}
      {!errorMessage && data && rows.length === 0 && <EmptyState title={t("noneFound")} hint={t("noneFoundHint")} />}
      {!errorMessage && rows.length > 0 && <RecordTable rows={rows} isPending={isPending} me={me} />}
      {!errorMessage && data && <RecordPager next={data.next ?? null} count={rows.length} />}
    </>
  );
}

function HistoryFilters(): ReactNode {
  const t = useTranslation();
  const [params, setParams] = useSearchParams();
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    setParams(formToParams(new FormData(event.currentTarget), params), false);
  };
  const current = (name: string): string => params.get(name) ?? "";
  const hasFilters = FILTER_FIELDS.some(current);
  return (
    <form className="filters" role="search" onSubmit={submit} key={FILTER_FIELDS.map(current).join("\n")}>
      {TEXT_FILTERS.map(([name, label]) => <input key={name} name={name} placeholder={t(label)} aria-label={t(label)} defaultValue={current(name)} />)}
      <select name="status" aria-label={t("status")} defaultValue={current("status")}>
        <option value="">{t("status")}: {t("all")}</option>
        {STATUSES.map((status) => <option key={status} value={status}>{t(status)}</option>)}
      </select>
      <select name="reason" aria-label={t("reason")} defaultValue={current("reason")}>
        <option value="">{t("reason")}: {t("all")}</option>
        {Object.keys(REASONS.en).map((reason) => <option key={reason} value={reason}>{t.reason(reason)}</option>)}
      </select>
      <label className="hint">{t("since")} <input type="datetime-local" name="since" defaultValue={current("since")} /></label>
      <label className="hint">{t("until")} <input type="datetime-local" name="until" defaultValue={current("until")} /></label>
      <button type="submit" className="main">{t("search")}</button>
      {hasFilters && <button type="button" className="quiet" onClick={() => setParams(new URLSearchParams(), false)}>{t("clearFilters")}</button>}
      <span className="fill" />
      <a className="button" href={historyCsvPath(apiFilters(params))} download><Icon name="download" size={16} /> {t("asCsv")}</a>
    </form>
  );
}

function RecordTable({ rows, isPending, me }: { rows: readonly Session[]; isPending: boolean; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  return (
    <div className={isPending ? "table-scroll paper dim" : "table-scroll paper"} role="region" aria-label={t("history")} aria-busy={isPending} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {COLUMNS.map((label) => <th key={label} scope="col">{t(label)}</th>)}
            <th scope="col" className="number">{t("duration")}</th>
            <th scope="col" className="number">{t("traffic")}</th>
            <th scope="col"><span className="visually-hidden">{t("recording")}</span></th>
          </tr>
        </thead>
        <tbody>{rows.map((row) => <RecordRow key={row.session_id} row={row} me={me} />)}</tbody>
      </table>
    </div>
  );
}

function RecordRow({ row, me }: { row: Session; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const reason = row.status === "active" ? "" : t.reason(row.reason);
  return (
    <tr>
      <td data-column="user" title={row.subject}><Link to={sessionPagePath(row.name, row.session_id)} label={t("openSession", row.user, row.target)}><strong>{row.user}</strong></Link></td>
      <td data-column="target" title={row.target}>{row.target}</td>
      <td data-column="login" title={row.login}>{row.login}</td>
      <td data-column="client" title={[row.client_address, row.client_software].filter(Boolean).join("\n")}>{row.client_address}</td>
      <td data-column="status"><span className={`status ${row.status}`}>{t(row.status)}</span></td>
      <td data-column="reason" title={[reason, row.message, row.terminated_by].filter(Boolean).join("\n")}>{reason}{row.terminated_by && <small> {t("by", row.terminated_by)}</small>}</td>
      <td data-column="started"><Timestamp time={row.start_time} /></td>
      <td data-column="duration" className="number" title={row.end_time ? `${t("ended")}: ${formatUtcTime(row.end_time)}` : undefined}>{row.duration_seconds !== null && formatDuration(row.duration_seconds * 1000)}</td>
      <td data-column="traffic" className="number">↑ {formatBytes(row.bytes_in)} ↓ {formatBytes(row.bytes_out)}</td>
      <td data-column="act">{isPlayable(row) && <PlaybackLink session={row} me={me} small />}</td>
    </tr>
  );
}

/** The pager of the history. The API returns only the cursor of the next page, so the pager remembers the previous cursors. */
function RecordPager({ next, count }: { next: string | null; count: number }): ReactNode {
  const t = useTranslation();
  const [params, setParams] = useSearchParams();
  const cursor = params.get("after");
  const previousCursors = useRef(new Map<string, string | null>()).current;
  const goTo = (after: string | null): void => {
    const query = new URLSearchParams(params);
    if (after) query.set("after", after); else query.delete("after");
    setParams(query, false);
  };
  const goToNext = (after: string): void => {
    previousCursors.set(after, cursor);
    goTo(after);
  };
  const setPageSize = (size: number): void => {
    const query = new URLSearchParams(params);
    query.set("size", String(size));
    setParams(query, false);
  };
  const previous = cursor === null ? undefined : previousCursors.get(cursor);
  return (
    <Pager
      text={t("pageOf", count)} size={pageSize(params)} sizes={PAGE_SIZES} firstLabel="toNewest" onSize={setPageSize}
      onFirst={cursor ? () => goTo(null) : null}
      onPrevious={previous === undefined ? null : () => goTo(previous)}
      onNext={next ? () => goToNext(next) : null}
    />
  );
}
