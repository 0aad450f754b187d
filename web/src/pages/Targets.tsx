// The targets: who is on them now, who may connect, and the way to a terminal on one.

import { Fragment, type ReactNode, useId, useMemo, useState } from "react";
import { fetchTargetAccess, fetchAllTargets } from "../api/client";
import type { CurrentUser, Session, Target } from "../api/types";
import { useFeedState } from "../feed/feedContext";
import { EmptyState } from "../components/EmptyState";
import { PageHeader } from "../components/PageHeader";
import { useFetch } from "../hooks/useFetch";
import { Icon } from "../components/Icon";
import { Link } from "../components/Link";
import { useSearchParams } from "../router";
import { useTranslation, type MessageKey } from "../i18n";
import { HAS_TERMINAL } from "./TerminalPage";
import { hindrance, matching, terminalAddress } from "./targetList";

/** Targets change seldom. */
const LOOK = 30_000;
/** No more are drawn: whoever has more looks for one. */
const MOST_DRAWN = 500;
const COLUMNS: readonly MessageKey[] = ["target", "address", "logins", "groups", "sessionsNow", "access", "connect"];

export function Targets({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const { data, errorMessage } = useFetch(fetchAllTargets, "targets", LOOK);
  const { allowed, reason } = me.rights.list_targets;
  return (
    <main className="page targets">
      <PageHeader title={t("targets")} />
      {!allowed && <p className="notice">{t("ownTargets", reason ?? "")}</p>}
      {errorMessage && !data && <EmptyState title={t("targetsFail")} hint={errorMessage} tone="bad" />}
      {errorMessage && data && <p className="notice bad" role="alert">{errorMessage}</p>}
      {!data && !errorMessage && <p className="hint" role="status">{t("loading")}</p>}
      {data?.length === 0 && <EmptyState title={t(allowed ? "noTargets" : "noTargetsOwn")} hint={allowed ? t("noTargetsHint") : me.rights.connect?.reason} />}
      {data && data.length > 0 && <Found all={data} me={me} />}
    </main>
  );
}

function Found({ all, me }: { all: readonly Target[]; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const [params, setParams] = useSearchParams();
  const text = params.get("q") ?? "";
  const found = useMemo(() => matching(all, text), [all, text]);
  const { live, sessions } = useFeedState();
  const counts = useMemo(() => byTarget(sessions.values()), [sessions]);
  const shown = found.slice(0, MOST_DRAWN);
  return (
    <>
      <div className="filters" role="search">
        <label className="search">
          <Icon name="search" size={16} />
          <input type="search" placeholder={t("searchTargets")} aria-label={t("search")} value={text} onChange={(event) => setParams(new URLSearchParams(event.target.value && { q: event.target.value }))} />
        </label>
        <span className="hint">{shown.length > 0 && t("rows", 1, shown.length, found.length)}</span>
      </div>
      {found.length === 0 && <EmptyState title={t("noneMatches")} hint={t("noneMatchesTargets", all.length)} />}
      {found.length > 0 && (
        <div className="sheet paper" role="region" aria-label={t("targets")} tabIndex={0}>
          <table>
            <thead><tr>{COLUMNS.map((word) => <th key={word} scope="col" className={word === "sessionsNow" ? "number" : undefined}>{t(word)}</th>)}</tr></thead>
            <tbody>{shown.map((it) => <Row key={it.name} target={it} me={me} online={live ? (counts.get(it.name) ?? 0) : null} />)}</tbody>
          </table>
        </div>
      )}
    </>
  );
}

function byTarget(sessions: Iterable<Session>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { target } of sessions) counts.set(target, (counts.get(target) ?? 0) + 1);
  return counts;
}

function Row({ target, me, online }: { target: Target; me: CurrentUser; online: number | null }): ReactNode {
  const t = useTranslation();
  const [open, setOpen] = useState(false);
  const id = useId();
  const { name, address, port, description, may_connect: may } = target;
  return (
    <Fragment>
      <tr>
        <th scope="row" className="name">{name}{description && <small title={description}>{description}</small>}</th>
        <td className="at" title={address ?? undefined}>{address === null ? "–" : <code>{address}:{port}</code>}</td>
        <td className="wrap" data-label={t("logins")}>{target.logins.join(", ")}</td>
        <td className="wrap" data-label={t("groups")}>{target.groups.join(", ") || "–"}</td>
        <td className="number" data-label={t("sessionsNow")}>{online === null ? "–" : online === 0 ? 0 : <Link to={`/?target=${encodeURIComponent(name)}`} className="link">{online}</Link>}</td>
        <td>
          <span className="access"><span className={may ? "why good" : "why"} title={may === null ? (me.rights.connect?.reason ?? undefined) : undefined}>{t(may === null ? "unknown" : may ? "mayYes" : "mayNo")}</span>
          {me.rights.list_targets.allowed && (
            <button type="button" className="tool" aria-expanded={open} aria-controls={id} aria-label={t("showWho", name)} title={t("showWho", name)} onClick={() => setOpen(!open)}><Icon name="down" size={16} /></button>
          )}
          </span>
        </td>
        <td><Connect target={target} me={me} /></td>
      </tr>
      {open && <tr id={id}><td colSpan={COLUMNS.length} className="wrap"><Who name={name} /></td></tr>}
    </Fragment>
  );
}

/** Asked for one target at a time: for all of them it would be too many questions. */
function Who({ name }: { name: string }): ReactNode {
  const t = useTranslation();
  const { data, errorMessage } = useFetch(() => fetchTargetAccess(name), name);
  if (errorMessage) return <span className="bad" role="alert">{errorMessage}</span>;
  if (!data) return <span className="hint" role="status">{t("loading")}</span>;
  if (data.users === null) return <span className="hint">{t("usersHidden")}</span>;
  if (data.users.length === 0) return <span className="hint">{t("nobodyMay")}</span>;
  return (
    <div className="whoMay">
      <strong>{t("who")}</strong>
      <ul>{data.users.map((user) => <li key={user.name}><Link to={`/?user=${encodeURIComponent(user.name)}`} className="link">{user.name}</Link> <small>{user.logins.join(", ")}</small></li>)}</ul>
    </div>
  );
}

function Connect({ target, me }: { target: Target; me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const { name, may_connect_as: logins } = target;
  const [login, setLogin] = useState(logins[0] ?? "");
  const why = hindrance(target, me, HAS_TERMINAL);
  if (why) {
    const text = "word" in why ? t(why.word) : why.sentence;
    // It can be reached with the Tab key, so that the reason can be heard.
    return <button type="button" aria-disabled="true" aria-label={`${t("connectTo", name)}: ${text}`} title={text}><Icon name="terminal" size={16} /> {t("connect")}</button>;
  }
  return (
    <span className="connect">
      {logins.length > 1 && <select aria-label={t("connectAs", name)} value={login} onChange={(event) => setLogin(event.target.value)}>{logins.map((it) => <option key={it}>{it}</option>)}</select>}
      <Link to={terminalAddress(name, login)} className="button" label={t("connectTo", name)}><Icon name="terminal" size={16} /> {t("connect")}</Link>
    </span>
  );
}
