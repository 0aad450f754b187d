// Past sessions, from the audit database, newest first.

import { type FormEvent, type ReactNode, useCallback, useEffect, useState } from "react";
import { history, type Me, type Session } from "./api";
import { csv } from "./csv";
import { bytes, duration, local, utc } from "./format";
import { useParams } from "./url";
import { REASONS, useSay } from "./words";

const FIELDS = ["user", "target", "login", "status", "reason", "since", "until"] as const;
/** No more rows than this are put into one file. */
const MOST_EXPORTED = 100_000;
const STATUSES = ["active", "closed", "timeout", "terminated"] as const;

/** What is asked for, with times as the console takes them. */
function asked(text: string): URLSearchParams {
  const query = new URLSearchParams(text);
  for (const name of ["since", "until"]) {
    const moment = query.get(name);
    if (moment) query.set(name, new Date(moment).toISOString());
  }
  return query;
}

/** Saves all that is asked for, from the first page to the last, as a file. */
async function save(text: string): Promise<void> {
  const query = asked(text);
  query.set("limit", "1000");
  const rows: Session[] = [];
  for (let after: string | null = ""; after !== null && rows.length < MOST_EXPORTED; ) {
    if (after) query.set("after", after);
    const page = await history(query);
    rows.push(...page.sessions);
    after = page.next;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
  link.download = "sessions.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

export function History({ me }: { me: Me }): ReactNode {
  const say = useSay();
  const [params, setParams] = useParams();
  const text = params.toString();
  const [rows, setRows] = useState<readonly Session[]>([]);
  const [next, setNext] = useState<string | null>(null);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(true);
  const load = useCallback((after: string | null) => {
    const query = asked(text);
    if (after) query.set("after", after);
    setBusy(true);
    setError("");
    history(query)
      .then((page) => {
        setRows((before) => (after ? [...before, ...page.sessions] : page.sessions));
        setNext(page.next);
      }, (failure: Error) => setError(failure.message))
      .finally(() => setBusy(false));
  }, [text]);
  useEffect(() => load(null), [load]);
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const filled = FIELDS.map((name) => [name, String(form.get(name) ?? "").trim()]).filter(([, value]) => value);
    setParams(new URLSearchParams(filled as string[][]), false);
  };
  return (
    <main className="history">
      <div className="head">
        <h1>{say("history")}</h1>
        {!me.rights.list_sessions.allowed && <p className="hint">{say("own", me.rights.list_sessions.reason ?? "")}</p>}
      </div>
      <form className="filters" role="search" onSubmit={submit} key={text}>
        {(["user", "target", "login"] as const).map((name) => <input key={name} name={name} placeholder={say(name)} aria-label={say(name)} defaultValue={params.get(name) ?? ""} />)}
        <select name="status" aria-label={say("status")} defaultValue={params.get("status") ?? ""}>
          <option value="">{say("status")}: {say("all")}</option>
          {STATUSES.map((status) => <option key={status} value={status}>{say(status)}</option>)}
        </select>
        <select name="reason" aria-label={say("reason")} defaultValue={params.get("reason") ?? ""}>
          <option value="">{say("reason")}: {say("all")}</option>
          {Object.keys(REASONS.en).map((reason) => <option key={reason} value={reason}>{say.reason(reason)}</option>)}
        </select>
        <label className="hint">{say("since")} <input type="datetime-local" name="since" defaultValue={params.get("since") ?? ""} /></label>
        <label className="hint">{say("until")} <input type="datetime-local" name="until" defaultValue={params.get("until") ?? ""} /></label>
        <button type="submit" className="main">{say("search")}</button>
        <button type="button" onClick={() => void save(text).catch((failure: Error) => setError(failure.message))}>{say("asCsv")}</button>
      </form>
      {error && <p className="bad" role="alert">{error}</p>}
      <div className="scroll" tabIndex={0}>
        <table>
          <thead>
            <tr>{(["user", "target", "login", "client", "status", "reason", "started", "duration", "traffic"] as const).map((word) => <th key={word} scope="col">{say(word)}</th>)}</tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.session_id}>
                <td title={row.subject}>{row.user}</td>
                <td>{row.target}</td>
                <td>{row.login}</td>
                <td title={row.client_software ?? undefined}>{row.client_address}</td>
                <td><span className={`why ${row.status}`}>{say(row.status)}</span></td>
                <td title={row.message ?? undefined}>{row.status === "active" ? "" : say.reason(row.reason)}{row.terminated_by && ` (${say("by", row.terminated_by)})`}</td>
                <td title={utc(row.start_time)}>{local(row.start_time)}</td>
                <td className="number">{row.duration_seconds === null ? "" : duration(row.duration_seconds * 1000)}</td>
                <td className="number">↑ {bytes(row.bytes_in)} ↓ {bytes(row.bytes_out)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {!error && rows.length === 0 && <p className="empty">{busy ? say("loading") : say("noneFound")}</p>}
      {next && <p className="pager"><button type="button" disabled={busy} onClick={() => load(next)}>{say("more")}</button></p>}
    </main>
  );
}
