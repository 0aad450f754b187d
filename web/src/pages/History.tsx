// Past sessions, from the audit store, newest first.

import { type FormEvent, type ReactNode, useRef } from "react";
import { fetchHistory, historyCsvPath, ApiError } from "../api/client";
import type { CurrentUser, Session } from "../api/types";
import { formatBytes, formatDuration, formatUtcTime } from "../format";
import { EmptyState } from "../components/EmptyState";
import { PageHeader } from "../components/PageHeader";
import { useFetch } from "../hooks/useFetch";
import { Icon } from "../components/Icon";
import { Link } from "../components/Link";
import { Timestamp } from "../components/Timestamp";
import { PlaybackLink } from "../components/PlaybackLink";
import { useSearchParams } from "../router";
import { useTranslation, type MessageKey } from "../i18n";
import { REASONS } from "../i18n/reasons";
import { isPlayable } from "../components/isPlayable";
import { address, FIELDS, filters, pageQuery, size, SIZES } from "./past";

const STATUSES = ["active", "closed", "timeout", "terminated"] as const;
const TEXTS: readonly (readonly [string, MessageKey])[] = [["user", "user"], ["target", "target"], ["login", "login"], ["client_address", "clientAddress"]];
const COLUMNS: readonly MessageKey[] = ["user", "target", "login", "client", "status", "reason", "started"];

export function History({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const { list_sessions: all, history: there } = me.rights;
  const none = there?.allowed === false;
  return (
    <main className="page history">
      <PageHeader title={t("history")} />
      {!all.allowed && <p className="notice">{t("own", all.reason ?? "")}</p>}
      {none ? <EmptyState title={t("noHistory")} hint={there.reason} /> : <Records me={me} />}
    </main>
  );
}

function Records({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const [params] = useSearchParams();
  const query = pageQuery(params);
  const { data, errorMessage, error, isPending } = useFetch(() => fetchHistory(query), query.toString());
  const rows = data?.sessions ?? [];
  const noRight = error instanceof ApiError && error.status === 403;
  return (
    <>
      <Filters />
      {errorMessage && <EmptyState title={t(noRight ? "noRight" : "historyFails")} hint={errorMessage} tone="bad" />}
      {!errorMessage && !data && <p className="hint" role="status">{t("loading")}</p>}
      {!errorMessage && data && rows.length === 0 && <EmptyState title={t("noneFound")} hint={t("noneFoundHint")} />}
      {!errorMessage && rows.length > 0 && <Rows rows={rows} waiting={isPending} me={me} />}
      {!errorMessage && data && <Pager next={data.next ?? null} count={rows.length} />}
    </>
  );
}

function Filters(): ReactNode {
  const t = useTranslation();
  const [params, setParams] = useSearchParams();
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    setParams(address(new FormData(event.currentTarget), params), false);
  };
  const kept = (name: string): string => params.get(name) ?? "";
  const any = FIELDS.some(kept);
  return (
    <form className="filters" role="search" onSubmit={submit} key={FIELDS.map(kept).join("\n")}>
      {TEXTS.map(([name, word]) => <input key={name} name={name} placeholder={t(word)} aria-label={t(word)} defaultValue={kept(name)} />)}
      <select name="status" aria-label={t("status")} defaultValue={kept("status")}>
        <option value="">{t("status")}: {t("all")}</option>
        {STATUSES.map((status) => <option key={status} value={status}>{t(status)}</option>)}
      </select>
      <select name="reason" aria-label={t("reason")} defaultValue={kept("reason")}>
        <option value="">{t("reason")}: {t("all")}</option>
        {Object.keys(REASONS.en).map((reason) => <option key={reason} value={reason}>{t.reason(reason)}</option>)}
      </select>
      <label className="hint">{t("since")} <input type="datetime-local" name="since" defaultValue={kept("since")} /></label>
      <label className="hint">{t("until")} <input type="datetime-local" name="until" defaultValue={kept("until")} /></label>
      <button type="submit" className="main">{t("search")}</button>
      {any && <button type="button" className="quiet" onClick={() => setParams(new URLSearchParams(), false)}>{t("clearFilters")}</button>}
      <span className="fill" />
      <a className="button" href={historyCsvPath(filters(params))} download><Icon name="download" size={16} /> {t("asCsv")}</a>
    </form>
  );
}

function Rows({ rows, waiting, me }: { rows: readonly Session[]; waiting: boolean; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  return (
    <div className={waiting ? "sheet paper dim" : "sheet paper"} role="region" aria-label={t("history")} aria-busy={waiting} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {COLUMNS.map((word) => <th key={word} scope="col">{t(word)}</th>)}
            <th scope="col" className="number">{t("duration")}</th>
            <th scope="col" className="number">{t("traffic")}</th>
            <th scope="col"><span className="unseen">{t("recording")}</span></th>
          </tr>
        </thead>
        <tbody>{rows.map((row) => <Row key={row.session_id} row={row} me={me} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ row, me }: { row: Session; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const why = row.status === "active" ? "" : t.reason(row.reason);
  return (
    <tr>
      <td data-column="user" title={row.subject}><Link to={`/sessions/${encodeURIComponent(row.name)}?id=${row.session_id}`} label={t("openSession", row.user, row.target)}><strong>{row.user}</strong></Link></td>
      <td data-column="target" title={row.target}>{row.target}</td>
      <td data-column="login" title={row.login}>{row.login}</td>
      <td data-column="client" title={[row.client_address, row.client_software].filter(Boolean).join("\n")}>{row.client_address}</td>
      <td data-column="status"><span className={`why ${row.status}`}>{t(row.status)}</span></td>
      <td data-column="reason" title={[why, row.message, row.terminated_by].filter(Boolean).join("\n")}>{why}{row.terminated_by && <small> {t("by", row.terminated_by)}</small>}</td>
      <td data-column="started"><Timestamp time={row.start_time} /></td>
      <td data-column="duration" className="number" title={row.end_time ? `${t("ended")}: ${formatUtcTime(row.end_time)}` : undefined}>{row.duration_seconds !== null && formatDuration(row.duration_seconds * 1000)}</td>
      <td data-column="traffic" className="number">↑ {formatBytes(row.bytes_in)} ↓ {formatBytes(row.bytes_out)}</td>
      <td data-column="act">{isPlayable(row) && <PlaybackLink session={row} me={me} small />}</td>
    </tr>
  );
}

/** The console tells where the next page begins, and not where the last one did: that the page keeps. */
function Pager({ next, count }: { next: string | null; count: number }): ReactNode {
  const t = useTranslation();
  const [params, setParams] = useSearchParams();
  const here = params.get("after");
  const previous = useRef(new Map<string, string | null>()).current;
  const to = (after: string | null): void => {
    const query = new URLSearchParams(params);
    if (after) query.set("after", after); else query.delete("after");
    setParams(query, false);
  };
  const onNext = (): void => {
    if (!next) return;
    previous.set(next, here);
    to(next);
  };
  const resize = (value: string): void => {
    const query = new URLSearchParams(params);
    query.set("size", value);
    setParams(query, false);
  };
  return (
    <div className="pager">
      <span>{t("pageOf", count)}</span>
      <span className="fill" />
      <label>
        <span className="wide">{t("perPage")}</span>{" "}
        <select aria-label={t("perPage")} value={size(params)} onChange={(event) => resize(event.target.value)}>
          {SIZES.map((it) => <option key={it}>{it}</option>)}
        </select>
      </label>
      <button type="button" className="tool" aria-label={t("toNewest")} title={t("toNewest")} disabled={!here} onClick={() => to(null)}><Icon name="first" /></button>
      <button type="button" className="tool" aria-label={t("previous")} title={t("previous")} disabled={here === null || !previous.has(here)} onClick={() => to(previous.get(here ?? "") ?? null)}><Icon name="left" /></button>
      <button type="button" className="tool" aria-label={t("next")} title={t("next")} disabled={!next} onClick={onNext}><Icon name="right" /></button>
    </div>
  );
}
