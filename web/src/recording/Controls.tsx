// What moves a recording: play and pause, the place in it, speed, pauses, and a link to this moment.

import { type ReactNode, useEffect, useRef, useState } from "react";
import { Icon } from "../components/Icon";
import { formatDuration, formatLocalTime, formatUtcTime } from "../format";
import { useScreenReaderMode } from "../hooks/useScreenReaderMode";
import type { Recording } from "./ask";
import type { RecordingTranslate } from "./messages";
import type { Played } from "./Playback";
import type { Player, Playing } from "./player";

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
  t: RecordingTranslate;
  choice: ReactNode;
}

export function Controls({ played: { player, stage }, playing, session, recording, t, choice }: ControlsProps): ReactNode {
  const { state, position, total, waiting, speed, cap } = playing;
  const [aim, setAim] = useAim(player);
  const shown = aim ?? position;
  const [reader, setReader] = useScreenReaderMode();
  useEffect(() => {
    stage.readable = reader;
  }, [stage, reader]);
  const act = state === "playing" ? "pause" : state === "ended" ? "replay" : "play";
  return (
    <div className="player-controls" role="group" aria-label={t("controls")}>
      <Place at={shown} total={total} recording={recording} t={t} onAim={setAim} />
      <div className="player-row">
        <button type="button" className="tool text" aria-label={t("back")} title={`${t("back")} (←)`} onClick={() => player.seek(position - STEP)}><Icon name="left" />{t("step")}</button>
        <button type="button" className="main" aria-label={t(act)} title={`${t(act)} (${t.language === "zh" ? "空格" : "Space"})`} onClick={() => player.toggle()}><Icon name={state === "playing" ? "pause" : "play"} /></button>
        <button type="button" className="tool text" aria-label={t("forward")} title={`${t("forward")} (→)`} onClick={() => player.seek(position + STEP)}>{t("step")}<Icon name="right" /></button>
        <Times at={shown} total={total} recording={recording} t={t} />
        <span className="player-waiting hint" role="status" data-testid="waiting">{waiting && t("waiting")}</span>
        <span className="fill" />
        <label className="player-choice">{t("speed")} <select value={speed} onChange={(event) => { player.speed = Number(event.target.value); }}>
          {SPEEDS.map((it) => <option key={it} value={it}>{t("times", it)}</option>)}
        </select></label>
        <label className="player-choice">{t("gaps")} <select value={cap ?? 0} onChange={(event) => { player.cap = Number(event.target.value) || null; }}>
          {CAPS.map((it) => <option key={it} value={it * 1000}>{t("gapsCap", it)}</option>)}
          <option value={0}>{t("gapsOff")}</option>
        </select></label>
      </div>
      <div className="player-row">
        {choice}
        <span className="hint player-hint">{playing.drawnFrom === null ? t("keys") : t("drawnFrom", formatDuration(playing.drawnFrom))}</span>
        <CopyLink session={session} recording={recording} at={position} t={t} />
        <button type="button" aria-pressed={reader} onClick={() => setReader(!reader)}>{t("screenReader")}</button>
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
  t: RecordingTranslate;
}

function Place({ at, total, recording, t, onAim }: PlaceProps & { onAim: (at: number) => void }): ReactNode {
  const [now, end, clock] = [formatDuration(at), told(total, recording, t), clockTime(recording, at)];
  const text = clock ? t("placeAtClock", now, end, formatLocalTime(clock)) : t("placeAt", now, end);
  return (
    <input
      type="range" className="player-slider" min={0} max={Math.max(1, total)} step={1} value={at} disabled={total === 0}
      aria-label={t("place")} aria-valuetext={text} onChange={(event) => onAim(Number(event.target.value))}
    />
  );
}

function Times({ at, total, recording, t }: PlaceProps): ReactNode {
  const clock = clockTime(recording, at);
  return (
    <span className="player-times">
      <span data-testid="elapsed">{formatDuration(at)}</span>
      <span className="hint" title={recording.milliseconds === null ? t("totalUnknown") : undefined}> / {told(total, recording, t)}</span>
      {clock && <time dateTime={clock} title={formatUtcTime(clock)} data-testid="clock">{formatLocalTime(clock)}</time>}
    </span>
  );
}

function told(total: number, { milliseconds }: Recording, t: RecordingTranslate): string {
  return milliseconds === null ? t("atLeast", formatDuration(total)) : formatDuration(total);
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
  t: RecordingTranslate;
}

/** There is a clipboard over HTTPS alone; elsewhere the link is shown, to be copied by hand. */
function CopyLink({ session, recording, at, t }: CopyLinkProps): ReactNode {
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
      {shown && <input ref={field} className="player-link" readOnly aria-label={t("linkLabel")} value={shown} />}
      <span className="hint" role="status">{copied && t("copied")}</span>
      <button type="button" onClick={() => void copy()}><Icon name="link" size={16} /> {t("copyLink")}</button>
    </>
  );
}

function linkTo(session: string, number: number, at: number): string {
  const query = new URLSearchParams({ number: String(number), at: String(Math.floor(at)) });
  const id = new URLSearchParams(location.search).get("id");
  if (id) query.set("id", id);
  return `${location.origin}/recordings/${encodeURIComponent(session)}?${query}`;
}
