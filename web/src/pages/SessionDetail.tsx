// One session: what is known of it, and what happened in its life.

import { type ReactNode, useEffect, useState } from "react";
import { events, type Happening, session as ask, type Session } from "./api";
import { bytes, duration, local, utc } from "./format";
import { Link } from "./Link";
import { useSay } from "./words";

/** From one look to the next, while it is open. */
const LOOK = 2000;

export function SessionDetail({ name }: { name: string }): ReactNode {
  const say = useSay();
  const [session, setSession] = useState<Session | null>(null);
  const [timeline, setTimeline] = useState<readonly Happening[]>([]);
  const [error, setError] = useState("");
  useEffect(() => {
    let again = 0;
    let left = false;
    const look = async (): Promise<void> => {
      try {
        const [found, told] = await Promise.all([ask(name), events(name)]);
        if (left) return;
        setSession(found);
        setTimeline(told.events);
        setError("");
      } catch (failure) {
        if (!left) setError(failure instanceof Error ? failure.message : String(failure));
      }
      if (!left) again = window.setTimeout(() => void look(), LOOK);
    };
    void look();
    return () => {
      left = true;
      window.clearTimeout(again);
    };
  }, [name]);
  return (
    <main className="history">
      <div className="head">
        <h1>{name}</h1>
        {session && <span className={`why ${session.status}`} data-testid="status">{say(session.status)}{session.reason && `: ${say.reason(session.reason)}`}</span>}
      </div>
      {error && <p className="bad" role="alert">{error} <Link to="/history">{say("history")}</Link></p>}
      {!session && !error && <p className="empty">{say("loading")}</p>}
      {session && <Facts session={session} />}
      <ol className="timeline">
        {timeline.map((event) => (
          <li key={event.time + event.reason} className={event.type === "Warning" ? "bad" : undefined}>
            <time dateTime={event.time} title={utc(event.time)}>{local(event.time)}</time> <strong>{event.reason}</strong> {event.message}
            {event.count > 1 && ` (×${event.count})`}
          </li>
        ))}
      </ol>
    </main>
  );
}

function Facts({ session }: { session: Session }): ReactNode {
  const say = useSay();
  const lasted = (session.end_time ? Date.parse(session.end_time) : Date.now()) - Date.parse(session.start_time);
  const exit = session.exit_signal ?? session.exit_code;
  const facts: [string, ReactNode][] = [
    [say("user"), `${session.user} (${session.subject})`],
    [say("target"), `${session.login}@${session.target}`],
    [say("client"), `${session.client_address}:${session.client_port} ${session.client_software ?? ""}`],
    [say("protocol"), session.protocol],
    [say("gateway"), session.gateway],
    [say("started"), <time key="start" title={utc(session.start_time)}>{local(session.start_time)}</time>],
    [say("duration"), duration(lasted)],
    [say("traffic"), `↑ ${bytes(session.bytes_in)} ↓ ${bytes(session.bytes_out)}`],
    [say("recording"), session.recording?.state ?? "–"],
  ];
  if (session.end_time) facts.push([say("ended"), <time key="end" title={utc(session.end_time)}>{local(session.end_time)}</time>]);
  if (session.message) facts.push([say("reason"), session.message]);
  if (session.terminated_by) facts.push([say("terminated"), say("by", session.terminated_by)]);
  if (exit !== null) facts.push([say("exit"), String(exit)]);
  return <dl className="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}
