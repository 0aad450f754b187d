// One session: its life, what it may still take, and what is known of it; from the cluster, or later from the history.

import { type ReactNode, useEffect, useState } from "react";
import { events as askEvents, type Happening, type Me, record, Refused, sentence, session as ask, type Session } from "../api";
import { bytes, duration, span } from "../format";
import type { Activity } from "../live/feed";
import { useFeed, useOnline } from "../live/live";
import { Empty } from "../parts/Empty";
import { Head } from "../parts/Head";
import { useAsked, useNow } from "../parts/hooks";
import { Link } from "../parts/Link";
import { Moment } from "../parts/Moment";
import { Play } from "../parts/Play";
import { useMay } from "../sessions/Sessions";
import { TerminateDialog } from "../sessions/TerminateDialog";
import { useSay } from "../words";
import { left, life, looks, type Step } from "./life";

interface Found {
  session: Session;
  events: readonly Happening[];
  /** Why there are no Events. */
  lacking: string | null;
}

/** The session as the cluster has it; where it is there no longer, and its id is known, as the history has it. */
async function find(name: string, id: string | null): Promise<Found> {
  try {
    const session = await ask(name);
    if (id === null || session.session_id === id) return await withEvents(session);
  } catch (error) {
    const gone = error instanceof Refused && (error.status === 404 || error.status === 403);
    if (!gone || id === null) throw error;
  }
  return { session: await record(id), events: [], lacking: null };
}

async function withEvents(session: Session): Promise<Found> {
  try {
    return { session, events: (await askEvents(session.name)).events, lacking: null };
  } catch (error) {
    return { session, events: [], lacking: sentence(error) };
  }
}

export function SessionDetail({ name, id, me }: { name: string; id: string | null; me: Me }): ReactNode {
  const say = useSay();
  const online = useOnline();
  const feed = useFeed();
  // The feed tells of an end before the next look would.
  const { answer, error, failure } = useAsked(() => find(name, id), `${name} ${id} ${online.ended.some((it) => it.session.name === name)}`, looks);
  const active = answer?.session.status === "active";
  useEffect(() => {
    if (active) feed.watch([name]);
  }, [active, feed, name]);
  if (!answer) return <Missing name={name} error={error} failure={failure} />;
  const { session, events, lacking } = answer;
  return (
    <main className="page detail">
      <Head title={name} lead={<Status session={session} />}>{active && <span className="buttons"><Follow session={session} me={me} /><End session={session} me={me} /></span>}</Head>
      {error && <p className="notice bad" role="alert">{error}</p>}
      <div className="halves">
        <section className="paper" aria-labelledby="life">
          <h2 id="life">{say("timeline")}</h2>
          <ol className="timeline">{life(session, events).map((step, at) => <Point key={at} step={step} session={session} />)}</ol>
          {lacking && <p className="hint">{say("eventsUnknown", lacking)}</p>}
          {!lacking && events.length === 0 && <p className="hint">{say("noEvents")}</p>}
        </section>
        <div className="aside">
          <Facts session={session} />
          {active && <Limits session={session} activity={online.activity.get(name)} />}
          <Recorded session={session} me={me} />
        </div>
      </div>
    </main>
  );
}

function Missing({ name, error, failure }: { name: string; error: string | null; failure: unknown }): ReactNode {
  const say = useSay();
  const gone = failure instanceof Refused && failure.status === 404;
  return (
    <main className="page detail">
      <Head title={name} />
      {!error && <p className="hint" role="status">{say("loading")}</p>}
      {error && (
        <Empty title={say(gone ? "sessionGone" : failure instanceof Refused && failure.status === 403 ? "noRight" : "sessionMissing")} hint={error} tone="bad">
          <Link to="/history" className="link">{say("lookInHistory")}</Link>
        </Empty>
      )}
    </main>
  );
}

function Status({ session }: { session: Session }): ReactNode {
  const say = useSay();
  const why = session.status === "active" ? "" : `: ${say.reason(session.reason)}`;
  return <span className={`why ${session.status}`} data-testid="status">{session.termination && !why ? say("ending") : say(session.status)}{why}</span>;
}

/** The way to its terminals as they are now; where it is shut, it says why. */
function Follow({ session, me }: { session: Session; me: Me }): ReactNode {
  const say = useSay();
  const may = me.rights.observe;
  if (may?.allowed === false) return <button type="button" disabled title={may.reason ?? say("mayNotFollow")}>{say("follow")}</button>;
  return <Link to={`/follow/${encodeURIComponent(session.name)}`} className="button" label={say("followThis", session.user, session.target)}>{say("follow")}</Link>;
}

function End({ session, me }: { session: Session; me: Me }): ReactNode {
  const say = useSay();
  const online = useOnline();
  const [asking, setAsking] = useState(false);
  const lacking = useMay(me)(session);
  return (
    <>
      <button type="button" className="danger" disabled={lacking !== null || session.termination !== undefined || !online.live} title={lacking ?? undefined} onClick={() => setAsking(true)}>{say("terminate")}</button>
      {asking && <TerminateDialog sessions={[session]} online={online} onClose={() => setAsking(false)} />}
    </>
  );
}

function Point({ step, session }: { step: Step; session: Session }): ReactNode {
  const say = useSay();
  const tone = step.kind === "ended" ? session.status : step.warning ? "timeout" : "";
  const title = { began: say("began"), seen: say("lastSeen"), asked: say("askedToEnd"), ended: say.reason(session.reason), event: say.reason(step.name) }[step.kind];
  return (
    <li className={`${step.kind} ${tone}`}>
      <span className="when">{step.time ? <Moment time={step.time} /> : say("timeUnknown")}</span>
      <strong>{title}</strong>{step.count > 1 && <small> ×{step.count}</small>} <Told step={step} session={session} />
    </li>
  );
}

function Told({ step, session }: { step: Step; session: Session }): ReactNode {
  const say = useSay();
  if (step.kind === "began") return <p>{step.text ?? say("beganFrom", session.user, session.client_address)}</p>;
  if (step.kind === "asked") return <p>{say("by", step.name ?? "")}{step.text && `: ${step.text}`}</p>;
  const by = step.kind === "ended" && session.terminated_by;
  return <>{step.text && <p>{step.text}</p>}{by && <p>{say("by", by)}</p>}</>;
}

function List({ title, facts, act }: { title: string; facts: readonly (readonly [string, ReactNode])[]; act?: ReactNode }): ReactNode {
  return (
    <section className="paper">
      {act ? <div className="split"><h2>{title}</h2>{act}</div> : <h2>{title}</h2>}
      <dl className="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
    </section>
  );
}

function Facts({ session }: { session: Session }): ReactNode {
  const say = useSay();
  const now = useNow();
  const began = Date.parse(session.start_time);
  const took = session.duration_seconds !== null ? session.duration_seconds * 1000 : (session.end_time ? Date.parse(session.end_time) : now) - began;
  const exit = session.exit_signal ?? session.exit_code;
  const known = session.status === "active" || session.duration_seconds !== null || session.end_time !== null;
  return (
    <List title={say("facts")} facts={[
      [say("user"), <><Link to={`/?user=${encodeURIComponent(session.user)}`} className="link">{session.user}</Link>{session.subject !== session.user && <small> {session.subject}</small>}</>],
      [say("target"), <>{session.login}@<Link to={`/?target=${encodeURIComponent(session.target)}`} className="link">{session.target}</Link></>],
      [say("client"), <>{session.client_address}:{session.client_port}{session.client_software && <small> {session.client_software}</small>}</>],
      [say("protocol"), session.protocol],
      [say("gateway"), session.gateway],
      [say("started"), <Moment time={session.start_time} />],
      ...(session.end_time ? [[say("ended"), <Moment time={session.end_time} />] as const] : []),
      [say("duration"), known ? duration(took) : say("unknown")],
      [say("sent"), bytes(session.bytes_in)],
      [say("received"), bytes(session.bytes_out)],
      ...(exit === null ? [] : [[say("exit"), String(exit)] as const]),
    ]} />
  );
}

function Limits({ session, activity }: { session: Session; activity: (Activity & { at: number }) | undefined }): ReactNode {
  const say = useSay();
  const now = useNow();
  const { limits } = session;
  const lasted = (now - Date.parse(session.start_time)) / 1000;
  const idle = activity?.idle_seconds == null ? null : activity.idle_seconds + (now - activity.at) / 1000;
  const told = (limit: number | null | undefined, used: number | null): string => {
    if (limits === undefined) return say("limitsUntold");
    if (limit == null) return say("noLimit");
    const rest = left(limit, used);
    return rest === null ? span(limit, say.language) : rest === 0 ? say("spent") : say("left", span(rest, say.language), span(limit, say.language));
  };
  return (
    <List title={say("limits")} facts={[
      [say("longestLimit"), told(limits?.max_seconds, lasted)],
      [say("idleLimit"), told(limits?.idle_seconds, idle)],
      [say("idle"), idle === null ? <span title={say("idleUnknown")}>–</span> : span(idle, say.language)],
    ]} />
  );
}

function Recorded({ session, me }: { session: Session; me: Me }): ReactNode {
  const say = useSay();
  const { recording } = session;
  if (!recording) return <List title={say("recording")} facts={[[say("state"), say("recordingOff")]]} />;
  const { state, message, mode, location, bytes: size, channels } = recording;
  return (
    <List title={say("recording")} act={<Play session={session} me={me} />} facts={[
      [say("state"), <>{state ?? (session.status === "active" ? say("recordingNow") : "–")}{message && <small className="bad"> {message}</small>}</>],
      ...(mode ? [[say("mode"), mode] as const] : []),
      ...(location ? [[say("place"), <code>{location}</code>] as const] : []),
      ...(size === undefined ? [] : [[say("size"), bytes(size)] as const]),
      ...(channels ? [[say("channelsOf"), channels.length] as const] : []),
    ]} />
  );
}
