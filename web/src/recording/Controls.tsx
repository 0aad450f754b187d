// What moves a recording: play and pause, the place in it, speed, pauses, and a link to this moment.

import { type ReactNode, useEffect, useRef, useState } from "react";
import { duration, local, utc } from "../format";
import { useScreenReader } from "../parts/hooks";
import { Icon } from "../parts/Icon";
import type { Recording } from "./ask";
import type { Played } from "./Playback";
import type { Player, Playing } from "./player";
import type { Words } from "./words";

const SPEEDS = [0.5, 1, 2, 4, 8, 16] as const;
/** How long a pause may be, in seconds. */
const CAPS = [1, 2, 5] as const;
const STEP = 5000;
/** Who drags the slider goes where it rests. */
const RESTS = 120;
/** How long it says that something was copied. */
const SAID = 3000;

interface ControlsProps {
  played: Played;
  playing: Playing;
  session: string;
  recording: Recording;
  words: Words;
  choice: ReactNode;
}

export function Controls({ played: { player, stage }, playing, session, recording, words, choice }: ControlsProps): ReactNode {
  const { state, position, total, waiting, speed, cap } = playing;
  const [aim, setAim] = useAim(player);
  const shown = aim ?? position;
  const [reader, setReader] = useScreenReader();
  useEffect(() => {
    stage.readable = reader;
  }, [stage, reader]);
  const act = state === "playing" ? "pause" : state === "ended" ? "replay" : "play";
  return (
    <div className="player-controls" role="group" aria-label={words("controls")}>
      <Place at={shown} total={total} recording={recording} words={words} onAim={setAim} />
      <div className="player-row">
        <button type="button" className="tool text" aria-label={words("back")} title={`${words("back")} (←)`} onClick={() => player.seek(position - STEP)}><Icon name="left" />{words("step")}</button>
        <button type="button" className="main" aria-label={words(act)} title={`${words(act)} (${words.language === "zh" ? "空格" : "Space"})`} onClick={() => player.toggle()}><Icon name={state === "playing" ? "pause" : "play"} /></button>
        <button type="button" className="tool text" aria-label={words("forward")} title={`${words("forward")} (→)`} onClick={() => player.seek(position + STEP)}>{words("step")}<Icon name="right" /></button>
        <Times at={shown} total={total} recording={recording} words={words} />
        <span className="player-waiting hint" role="status" data-testid="waiting">{waiting && words("waiting")}</span>
        <span className="fill" />
        <label className="player-choice">{words("speed")} <select value={speed} onChange={(event) => { player.speed = Number(event.target.value); }}>
          {SPEEDS.map((it) => <option key={it} value={it}>{words("times", it)}</option>)}
        </select></label>
        <label className="player-choice">{words("gaps")} <select value={cap ?? 0} onChange={(event) => { player.cap = Number(event.target.value) || null; }}>
          {CAPS.map((it) => <option key={it} value={it * 1000}>{words("gapsCap", it)}</option>)}
          <option value={0}>{words("gapsOff")}</option>
        </select></label>
      </div>
      <div className="player-row">
        {choice}
        <span className="hint player-hint">{playing.drawnFrom === null ? words("keys") : words("drawnFrom", duration(playing.drawnFrom))}</span>
        <CopyLink session={session} recording={recording} at={position} words={words} />
        <button type="button" aria-pressed={reader} onClick={() => setReader(!reader)}>{words("reader")}</button>
      </div>
    </div>
  );
}

/** Where somebody wants to be who still moves the slider; null where they rest. */
function useAim(player: Player): [number | null, (at: number) => void] {
  const [aim, setAim] = useState<number | null>(null);
  useEffect(() => {
    if (aim === null) return;
    const timer = window.setTimeout(() => {
      player.seek(aim);
      setAim(null);
    }, RESTS);
    return () => window.clearTimeout(timer);
  }, [aim, player]);
  return [aim, setAim];
}

interface PlaceProps {
  at: number;
  total: number;
  recording: Recording;
  words: Words;
}

function Place({ at, total, recording, words, onAim }: PlaceProps & { onAim: (at: number) => void }): ReactNode {
  const [now, end, clock] = [duration(at), told(total, recording, words), clockTime(recording, at)];
  const text = clock ? words("placeAtClock", now, end, local(clock)) : words("placeAt", now, end);
  return (
    <input
      type="range" className="player-slider" min={0} max={Math.max(1, total)} step={1} value={at} disabled={total === 0}
      aria-label={words("place")} aria-valuetext={text} onChange={(event) => onAim(Number(event.target.value))}
    />
  );
}

function Times({ at, total, recording, words }: PlaceProps): ReactNode {
  const clock = clockTime(recording, at);
  return (
    <span className="player-times">
      <span data-testid="elapsed">{duration(at)}</span>
      <span className="hint" title={recording.milliseconds === null ? words("totalUnknown") : undefined}> / {told(total, recording, words)}</span>
      {clock && <time dateTime={clock} title={utc(clock)} data-testid="clock">{local(clock)}</time>}
    </span>
  );
}

function told(total: number, { milliseconds }: Recording, words: Words): string {
  return milliseconds === null ? words("atLeast", duration(total)) : duration(total);
}

/** What time it was then. */
function clockTime({ began }: Recording, at: number): string | null {
  const time = began === null ? Number.NaN : Date.parse(began) + at;
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}

interface CopyLinkProps {
  session: string;
  recording: Recording;
  at: number;
  words: Words;
}

/** There is a clipboard over HTTPS alone; elsewhere the link is shown, to be copied by hand. */
function CopyLink({ session, recording, at, words }: CopyLinkProps): ReactNode {
  const [copied, setCopied] = useState(false);
  const [shown, setShown] = useState<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (!copied) return;
    const timer = window.setTimeout(() => setCopied(false), SAID);
    return () => window.clearTimeout(timer);
  }, [copied]);
  useEffect(() => field.current?.select(), [shown]);
  const copy = async (): Promise<void> => {
    const link = linkTo(session, recording.number, at);
    try {
      await navigator.clipboard.writeText(link);
      setShown(null);
      setCopied(true);
    } catch {
      setShown(link);
    }
  };
  return (
    <>
      {shown && <input ref={field} className="player-link" readOnly aria-label={words("linkLabel")} value={shown} />}
      <span className="hint" role="status">{copied && words("copied")}</span>
      <button type="button" onClick={() => void copy()}><Icon name="link" size={16} /> {words("copyLink")}</button>
    </>
  );
}

function linkTo(session: string, number: number, at: number): string {
  const query = new URLSearchParams({ number: String(number), at: String(Math.floor(at)) });
  const id = new URLSearchParams(location.search).get("id");
  if (id) query.set("id", id);
  return `${location.origin}/recordings/${encodeURIComponent(session)}?${query}`;
}
