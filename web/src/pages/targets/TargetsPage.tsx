// The page of targets: their online sessions, who may connect, and the link to a web terminal.

import { Fragment, type ReactNode, useId, useMemo, useState } from "react";
import { fetchAllTargets, fetchTargetAccess } from "../../api/client";
import type { CurrentUser, Session, Target } from "../../api/types";
import { EmptyState } from "../../components/EmptyState";
import { Icon } from "../../components/Icon";
import { Link } from "../../components/Link";
import { PageHeader } from "../../components/PageHeader";
import { useFeedState } from "../../feed/feedContext";
import { useFetch } from "../../hooks/useFetch";
import { type MessageKey, useTranslation } from "../../i18n";
import { useSearchParams } from "../../router";
import { terminalPagePath } from "../../routes";
import { HAS_TERMINAL } from "../TerminalPage";
import { connectBlocker, filterTargets } from "./targetList";

const POLL_INTERVAL_MS = 30_000;
/** The most rows that are shown. The search finds the other targets. */
const MAX_ROWS = 500;
const COLUMNS: readonly MessageKey[] = ["target", "address", "logins", "groups", "sessionsNow", "access", "connect"];

export function TargetsPage({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const { data, errorMessage } = useFetch(fetchAllTargets, "targets", POLL_INTERVAL_MS);
  const { allowed, reason } = me.rights.list_targets;
  return (
    <main className="page targets">
      <PageHeader title={t("targets")} />
      {!allowed && <p className="notice">{t("ownTargetsOnly", reason ?? "")}</p>}
      {errorMessage && !data && <EmptyState title={t("targetsFail")} hint={errorMessage} tone="bad" />}
      {errorMessage && data && <p className="notice bad" role="alert">{errorMessage}</p>}
      {!data && !errorMessage && <p className="hint" role="status">{t("loading")}</p>}
      {data?.length === 0 && <EmptyState title={t(allowed ? "noTargets" : "noTargetsOwn")} hint={allowed ? t("noTargetsHint") : me.rights.connect?.reason} />}
      {data && data.length > 0 && <TargetSearch targets={data} me={me} />}
    </main>
  );
}

function TargetSearch({ targets, me }: { targets: readonly Target[]; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const [params, setParams] = useSearchParams();
  const text = params.get("q") ?? "";
  const matching = useMemo(() => filterTargets(targets, text), [targets, text]);
  const { live, sessions } = useFeedState();
  const counts = useMemo(() => countByTarget(sessions.values()), [sessions]);
  const rows = matching.slice(0, MAX_ROWS);
  return (
    <>
      <div className="filters" role="search">
        <label className="search">
          <Icon name="search" size={16} />
          <input type="search" placeholder={t("searchTargets")} aria-label={t("search")} value={text} onChange={(event) => setParams(new URLSearchParams(event.target.value && { q: event.target.value }))} />
        </label>
        <span className="hint">{rows.length > 0 && t("rows", 1, rows.length, matching.length)}</span>
      </div>
      {matching.length === 0 && <EmptyState title={t("noneMatches")} hint={t("noneMatchesTargets", targets.length)} />}
      {matching.length > 0 && (
        <div className="table-scroll paper" role="region" aria-label={t("targets")} tabIndex={0}>
          <table>
            <thead><tr>{COLUMNS.map((label) => <th key={label} scope="col" className={label === "sessionsNow" ? "number" : undefined}>{t(label)}</th>)}</tr></thead>
            <tbody>{rows.map((it) => <TargetRow key={it.name} target={it} me={me} online={live ? (counts.get(it.name) ?? 0) : null} />)}</tbody>
          </table>
        </div>
      )}
    </>
  );
}

function countByTarget(sessions: Iterable<Session>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { target } of sessions) counts.set(target, (counts.get(target) ?? 0) + 1);
  return counts;
}

function TargetRow({ target, me, online }: { target: Target; me: CurrentUser; online: number | null }): ReactNode {
  const t = useTranslation();
  const [open, setOpen] = useState(false);
  const id = useId();
  const { name, address, port, description, may_connect } = target;
  return (
    <Fragment>
      <tr>
        <th scope="row" className="name">{name}{description && <small title={description}>{description}</small>}</th>
        <td className="at" title={address ?? undefined}>{address === null ? "–" : <code>{address}:{port}</code>}</td>
        <td className="wrap" data-label={t("logins")}>{target.logins.join(", ")}</td>
        <td className="wrap" data-label={t("groups")}>{target.groups.join(", ") || "–"}</td>
        <td className="number" data-label={t("sessionsNow")}>{online === null ? "–" : online === 0 ? 0 : <Link to={`/?target=${encodeURIComponent(name)}`} className="link">{online}</Link>}</td>
        <td>
          <span className="access"><span className={may_connect ? "status good" : "status"} title={may_connect === null ? (me.rights.connect?.reason ?? undefined) : undefined}>{t(may_connect === null ? "unknown" : may_connect ? "mayYes" : "mayNo")}</span>
          {me.rights.list_targets.allowed && (
            <button type="button" className="tool" aria-expanded={open} aria-controls={id} aria-label={t("showWho", name)} title={t("showWho", name)} onClick={() => setOpen(!open)}><Icon name="down" size={16} /></button>
          )}
          </span>
        </td>
        <td><ConnectButton target={target} me={me} /></td>
      </tr>
      {open && <tr id={id}><td colSpan={COLUMNS.length} className="wrap"><TargetUserList name={name} /></td></tr>}
    </Fragment>
  );
}

/** The users who may connect to a target. They are fetched when the target's row is opened. */
function TargetUserList({ name }: { name: string }): ReactNode {
  const t = useTranslation();
  const { data, errorMessage } = useFetch(() => fetchTargetAccess(name), name);
  if (errorMessage) return <span className="bad" role="alert">{errorMessage}</span>;
  if (!data) return <span className="hint" role="status">{t("loading")}</span>;
  if (data.users === null) return <span className="hint">{t("usersHidden")}</span>;
  if (data.users.length === 0) return <span className="hint">{t("nobodyMay")}</span>;
  return (
    <div className="users">
      <strong>{t("who")}</strong>
      <ul>{data.users.map((user) => <li key={user.name}><Link to={`/?user=${encodeURIComponent(user.name)}`} className="link">{user.name}</Link> <small>{user.logins.join(", ")}</small></li>)}</ul>
    </div>
  );
}

function ConnectButton({ target, me }: { target: Target; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const { name, may_connect_as: logins } = target;
  const [login, setLogin] = useState(logins[0] ?? "");
  const blocker = connectBlocker(target, me, HAS_TERMINAL);
  if (blocker) {
    const text = "key" in blocker ? t(blocker.key) : blocker.message;
    // `aria-disabled` keeps the button in the Tab order, so that screen readers reach the reason.
    return <button type="button" aria-disabled="true" aria-label={`${t("connectTo", name)}: ${text}`} title={text}><Icon name="terminal" size={16} /> {t("connect")}</button>;
  }
  return (
    <span className="connect">
      {logins.length > 1 && <select aria-label={t("connectAs", name)} value={login} onChange={(event) => setLogin(event.target.value)}>{logins.map((it) => <option key={it}>{it}</option>)}</select>}
      <Link to={terminalPagePath(name, login)} className="button" label={t("connectTo", name)}><Icon name="terminal" size={16} /> {t("connect")}</Link>
    </span>
  );
}
