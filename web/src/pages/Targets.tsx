// The targets: who is on them now, who may connect, and the way to a terminal on one.

import { Fragment, type ReactNode, useId, useMemo, useState } from "react";
import { type Me, type Session, type Target, target as askWho, targets } from "../api";
import { useOnline } from "../live/live";
import { Empty } from "../parts/Empty";
import { Head } from "../parts/Head";
import { useAsked } from "../parts/hooks";
import { Icon } from "../parts/Icon";
import { Link } from "../parts/Link";
import { useParams } from "../url";
import { useSay, type Word } from "../words";
import { HAS_TERMINAL } from "./TerminalPage";
import { hindrance, matching, terminalAddress } from "./targetList";

/** Targets change seldom. */
const LOOK = 30_000;
/** No more are drawn: whoever has more looks for one. */
const MOST_DRAWN = 500;
const COLUMNS: readonly Word[] = ["target", "address", "logins", "groups", "sessionsNow", "access", "connect"];

export function Targets({ me }: { me: Me }): ReactNode {
  const say = useSay();
  const { answer, error } = useAsked(targets, "targets", LOOK);
  const { allowed, reason } = me.rights.list_targets;
  return (
    <main className="page targets">
      <Head title={say("targets")} />
      {!allowed && <p className="notice">{say("ownTargets", reason ?? "")}</p>}
      {error && !answer && <Empty title={say("targetsFail")} hint={error} tone="bad" />}
      {error && answer && <p className="notice bad" role="alert">{error}</p>}
      {!answer && !error && <p className="hint" role="status">{say("loading")}</p>}
      {answer?.length === 0 && <Empty title={say(allowed ? "noTargets" : "noTargetsOwn")} hint={allowed ? say("noTargetsHint") : me.rights.connect?.reason} />}
      {answer && answer.length > 0 && <Found all={answer} me={me} />}
    </main>
  );
}

function Found({ all, me }: { all: readonly Target[]; me: Me }): ReactNode {
  const say = useSay();
  const [params, setParams] = useParams();
  const text = params.get("q") ?? "";
  const found = useMemo(() => matching(all, text), [all, text]);
  const { live, sessions } = useOnline();
  const counts = useMemo(() => byTarget(sessions.values()), [sessions]);
  const shown = found.slice(0, MOST_DRAWN);
  return (
    <>
      <div className="filters" role="search">
        <label className="search">
          <Icon name="search" size={16} />
          <input type="search" placeholder={say("searchTargets")} aria-label={say("search")} value={text} onChange={(event) => setParams(new URLSearchParams(event.target.value && { q: event.target.value }))} />
        </label>
        <span className="hint">{shown.length > 0 && say("rows", 1, shown.length, found.length)}</span>
      </div>
      {found.length === 0 && <Empty title={say("noneMatches")} hint={say("noneMatchesTargets", all.length)} />}
      {found.length > 0 && (
        <div className="sheet paper" role="region" aria-label={say("targets")} tabIndex={0}>
          <table>
            <thead><tr>{COLUMNS.map((word) => <th key={word} scope="col" className={word === "sessionsNow" ? "number" : undefined}>{say(word)}</th>)}</tr></thead>
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

function Row({ target, me, online }: { target: Target; me: Me; online: number | null }): ReactNode {
  const say = useSay();
  const [open, setOpen] = useState(false);
  const id = useId();
  const { name, address, port, description, may_connect: may } = target;
  return (
    <Fragment>
      <tr>
        <th scope="row" className="name">{name}{description && <small title={description}>{description}</small>}</th>
        <td className="at" title={address ?? undefined}>{address === null ? "–" : <code>{address}:{port}</code>}</td>
        <td className="wrap" data-label={say("logins")}>{target.logins.join(", ")}</td>
        <td className="wrap" data-label={say("groups")}>{target.groups.join(", ") || "–"}</td>
        <td className="number" data-label={say("sessionsNow")}>{online === null ? "–" : online === 0 ? 0 : <Link to={`/?target=${encodeURIComponent(name)}`} className="link">{online}</Link>}</td>
        <td>
          <span className="access"><span className={may ? "why good" : "why"} title={may === null ? (me.rights.connect?.reason ?? undefined) : undefined}>{say(may === null ? "unknown" : may ? "mayYes" : "mayNo")}</span>
          {me.rights.list_targets.allowed && (
            <button type="button" className="tool" aria-expanded={open} aria-controls={id} aria-label={say("showWho", name)} title={say("showWho", name)} onClick={() => setOpen(!open)}><Icon name="down" size={16} /></button>
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
  const say = useSay();
  const { answer, error } = useAsked(() => askWho(name), name);
  if (error) return <span className="bad" role="alert">{error}</span>;
  if (!answer) return <span className="hint" role="status">{say("loading")}</span>;
  if (answer.users === null) return <span className="hint">{say("usersHidden")}</span>;
  if (answer.users.length === 0) return <span className="hint">{say("nobodyMay")}</span>;
  return (
    <div className="whoMay">
      <strong>{say("who")}</strong>
      <ul>{answer.users.map((user) => <li key={user.name}><Link to={`/?user=${encodeURIComponent(user.name)}`} className="link">{user.name}</Link> <small>{user.logins.join(", ")}</small></li>)}</ul>
    </div>
  );
}

function Connect({ target, me }: { target: Target; me: Me }): ReactNode {
  const say = useSay();
  const { name, may_connect_as: logins } = target;
  const [login, setLogin] = useState(logins[0] ?? "");
  const why = hindrance(target, me, HAS_TERMINAL);
  if (why) {
    const text = "word" in why ? say(why.word) : why.sentence;
    // It can be reached with the Tab key, so that the reason can be heard.
    return <button type="button" aria-disabled="true" aria-label={`${say("connectTo", name)}: ${text}`} title={text}><Icon name="terminal" size={16} /> {say("connect")}</button>;
  }
  return (
    <span className="connect">
      {logins.length > 1 && <select aria-label={say("connectAs", name)} value={login} onChange={(event) => setLogin(event.target.value)}>{logins.map((it) => <option key={it}>{it}</option>)}</select>}
      <Link to={terminalAddress(name, login)} className="button" label={say("connectTo", name)}><Icon name="terminal" size={16} /> {say("connect")}</Link>
    </span>
  );
}
