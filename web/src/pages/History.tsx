// Past sessions, from the audit store, newest first.

import { type FormEvent, type ReactNode, useRef } from "react";
import { history, historyFile, type Me, Refused, type Session } from "../api";
import { bytes, duration, utc } from "../format";
import { Empty } from "../parts/Empty";
import { Head } from "../parts/Head";
import { useAsked } from "../parts/hooks";
import { Icon } from "../parts/Icon";
import { Link } from "../parts/Link";
import { Moment } from "../parts/Moment";
import { Play } from "../parts/Play";
import { useParams } from "../url";
import { useSay, type Word } from "../words";
import { REASONS } from "../words/reasons";
import { isPlayable } from "./playable";
import { address, FIELDS, filters, pageQuery, size, SIZES } from "./past";

const STATUSES = ["active", "closed", "timeout", "terminated"] as const;
const TEXTS: readonly (readonly [string, Word])[] = [["user", "user"], ["target", "target"], ["login", "login"], ["client_address", "clientAddress"]];
const COLUMNS: readonly Word[] = ["user", "target", "login", "client", "status", "reason", "started"];

export function History({ me }: { me: Me }): ReactNode {
  const say = useSay();
  const { list_sessions: all, history: there } = me.rights;
  const none = there?.allowed === false;
  return (
    <main className="page history">
      <Head title={say("history")} />
      {!all.allowed && <p className="notice">{say("own", all.reason ?? "")}</p>}
      {none ? <Empty title={say("noHistory")} hint={there.reason} /> : <Records me={me} />}
    </main>
  );
}

function Records({ me }: { me: Me }): ReactNode {
  const say = useSay();
  const [params] = useParams();
  const query = pageQuery(params);
  const { answer, error, failure, waiting } = useAsked(() => history(query), query.toString());
  const rows = answer?.sessions ?? [];
  const noRight = failure instanceof Refused && failure.status === 403;
  return (
    <>
      <Filters />
      {error && <Empty title={say(noRight ? "noRight" : "historyFails")} hint={error} tone="bad" />}
      {!error && !answer && <p className="hint" role="status">{say("loading")}</p>}
      {!error && answer && rows.length === 0 && <Empty title={say("noneFound")} hint={say("noneFoundHint")} />}
      {!error && rows.length > 0 && <Rows rows={rows} waiting={waiting} me={me} />}
      {!error && answer && <Pager next={answer.next ?? null} count={rows.length} />}
    </>
  );
}

function Filters(): ReactNode {
  const say = useSay();
  const [params, setParams] = useParams();
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    setParams(address(new FormData(event.currentTarget), params), false);
  };
  const kept = (name: string): string => params.get(name) ?? "";
  const any = FIELDS.some(kept);
  return (
    <form className="filters" role="search" onSubmit={submit} key={FIELDS.map(kept).join("\n")}>
      {TEXTS.map(([name, word]) => <input key={name} name={name} placeholder={say(word)} aria-label={say(word)} defaultValue={kept(name)} />)}
      <select name="status" aria-label={say("status")} defaultValue={kept("status")}>
        <option value="">{say("status")}: {say("all")}</option>
        {STATUSES.map((status) => <option key={status} value={status}>{say(status)}</option>)}
      </select>
      <select name="reason" aria-label={say("reason")} defaultValue={kept("reason")}>
        <option value="">{say("reason")}: {say("all")}</option>
        {Object.keys(REASONS.en).map((reason) => <option key={reason} value={reason}>{say.reason(reason)}</option>)}
      </select>
      <label className="hint">{say("since")} <input type="datetime-local" name="since" defaultValue={kept("since")} /></label>
      <label className="hint">{say("until")} <input type="datetime-local" name="until" defaultValue={kept("until")} /></label>
      <button type="submit" className="main">{say("search")}</button>
      {any && <button type="button" className="quiet" onClick={() => setParams(new URLSearchParams(), false)}>{say("clearFilters")}</button>}
      <span className="fill" />
      <a className="button" href={historyFile(filters(params))} download><Icon name="download" size={16} /> {say("asCsv")}</a>
    </form>
  );
}

function Rows({ rows, waiting, me }: { rows: readonly Session[]; waiting: boolean; me: Me }): ReactNode {
  const say = useSay();
  return (
    <div className={waiting ? "sheet paper dim" : "sheet paper"} role="region" aria-label={say("history")} aria-busy={waiting} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {COLUMNS.map((word) => <th key={word} scope="col">{say(word)}</th>)}
            <th scope="col" className="number">{say("duration")}</th>
            <th scope="col" className="number">{say("traffic")}</th>
            <th scope="col"><span className="unseen">{say("recording")}</span></th>
          </tr>
        </thead>
        <tbody>{rows.map((row) => <Row key={row.session_id} row={row} me={me} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ row, me }: { row: Session; me: Me }): ReactNode {
  const say = useSay();
  const why = row.status === "active" ? "" : say.reason(row.reason);
  return (
    <tr>
      <td data-column="user" title={row.subject}><Link to={`/sessions/${encodeURIComponent(row.name)}?id=${row.session_id}`} label={say("openSession", row.user, row.target)}><strong>{row.user}</strong></Link></td>
      <td data-column="target" title={row.target}>{row.target}</td>
      <td data-column="login" title={row.login}>{row.login}</td>
      <td data-column="client" title={[row.client_address, row.client_software].filter(Boolean).join("\n")}>{row.client_address}</td>
      <td data-column="status"><span className={`why ${row.status}`}>{say(row.status)}</span></td>
      <td data-column="reason" title={[why, row.message, row.terminated_by].filter(Boolean).join("\n")}>{why}{row.terminated_by && <small> {say("by", row.terminated_by)}</small>}</td>
      <td data-column="started"><Moment time={row.start_time} /></td>
      <td data-column="duration" className="number" title={row.end_time ? `${say("ended")}: ${utc(row.end_time)}` : undefined}>{row.duration_seconds !== null && duration(row.duration_seconds * 1000)}</td>
      <td data-column="traffic" className="number">↑ {bytes(row.bytes_in)} ↓ {bytes(row.bytes_out)}</td>
      <td data-column="act">{isPlayable(row) && <Play session={row} me={me} small />}</td>
    </tr>
  );
}

/** The console tells where the next page begins, and not where the last one did: that the page keeps. */
function Pager({ next, count }: { next: string | null; count: number }): ReactNode {
  const say = useSay();
  const [params, setParams] = useParams();
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
      <span>{say("pageOf", count)}</span>
      <span className="fill" />
      <label>
        <span className="wide">{say("perPage")}</span>{" "}
        <select aria-label={say("perPage")} value={size(params)} onChange={(event) => resize(event.target.value)}>
          {SIZES.map((it) => <option key={it}>{it}</option>)}
        </select>
      </label>
      <button type="button" className="tool" aria-label={say("toNewest")} title={say("toNewest")} disabled={!here} onClick={() => to(null)}><Icon name="first" /></button>
      <button type="button" className="tool" aria-label={say("previous")} title={say("previous")} disabled={here === null || !previous.has(here)} onClick={() => to(previous.get(here ?? "") ?? null)}><Icon name="left" /></button>
      <button type="button" className="tool" aria-label={say("next")} title={say("next")} disabled={!next} onClick={onNext}><Icon name="right" /></button>
    </div>
  );
}
