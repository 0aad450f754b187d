// The controls of the player: position, play and pause, speed, gaps, and a link to the current time.

import { type ReactNode, useEffect, useState } from "react";
import { Icon } from "../components/Icon";
import { ScreenReaderButton } from "../components/ScreenReaderButton";
import { formatDuration, formatLocalTime, formatUtcTime } from "../format";
import { useScreenReaderMode } from "../hooks/useScreenReaderMode";
import { CopyLink } from "./CopyLink";
import type { RecordingTranslate } from "./messages";
import { type Player, type PlayerState, SEEK_STEP_MS } from "./player";
import type { Recording } from "./recordingApi";
import type { PlayerWithScreen } from "./usePlayer";

const SPEEDS = [0.5, 1, 2, 4, 8, 16] as const;
/** Choices for the longest gap. */
const MAX_GAPS_SECONDS = [1, 2, 5] as const;

interface PlayerControlsProps {
  playback: PlayerWithScreen;
  state: PlayerState;
  session: string;
  recording: Recording;
  t: RecordingTranslate;
  choice: ReactNode;
}

export function PlayerControls({ playback: { player, screen }, state: playerState, session, recording, t, choice }: PlayerControlsProps): ReactNode {
  const { state, position, total, isBuffering, speed, maxGap, drawnFrom } = playerState;
  const [seekTarget, setSeekTarget] = useDelayedSeek(player);
  const shownPosition = seekTarget ?? position;
  const [screenReader, setScreenReader] = useScreenReaderMode();
  useEffect(() => {
    screen.screenReaderMode = screenReader;
  }, [screen, screenReader]);
  const action = state === "playing" ? "pause" : state === "ended" ? "replay" : "play";
  return (
    <div className="player-controls" role="group" aria-label={t("controls")}>
      <PositionSlider at={shownPosition} total={total} recording={recording} t={t} onSeek={setSeekTarget} />
      <div className="player-row">
        <button type="button" className="tool text" aria-label={t("back")} title={`${t("back")} (←)`} onClick={() => player.seek(position - SEEK_STEP_MS)}><Icon name="left" />{t("step")}</button>
        <button type="button" className="main" aria-label={t(action)} title={`${t(action)} (${t.language === "zh" ? "空格" : "Space"})`} onClick={() => player.toggle()}><Icon name={state === "playing" ? "pause" : "play"} /></button>
        <button type="button" className="tool text" aria-label={t("forward")} title={`${t("forward")} (→)`} onClick={() => player.seek(position + SEEK_STEP_MS)}>{t("step")}<Icon name="right" /></button>
        <PositionText at={shownPosition} total={total} recording={recording} t={t} />
        <span className="player-waiting hint" role="status" data-testid="waiting">{isBuffering && t("waiting")}</span>
        <span className="fill" />
        <label className="player-choice">{t("speed")} <select value={speed} onChange={(event) => { player.speed = Number(event.target.value); }}>
          {SPEEDS.map((it) => <option key={it} value={it}>{t("times", it)}</option>)}
        </select></label>
        <label className="player-choice">{t("gaps")} <select value={maxGap ?? 0} onChange={(event) => { player.maxGap = Number(event.target.value) || null; }}>
          {MAX_GAPS_SECONDS.map((it) => <option key={it} value={it * 1000}>{t("gapsCap", it)}</option>)}
          <option value={0}>{t("gapsOff")}</option>
        </select></label>
      </div>
      <div className="player-row">
        {choice}
        <span className="hint player-hint">{drawnFrom === null ? t("keys") : t("drawnFrom", formatDuration(drawnFrom))}</span>
        <CopyLink session={session} recording={recording} at={position} t={t} />
        <ScreenReaderButton on={screenReader} onChange={setScreenReader} />
      </div>
    </div>
  );
}

/** How long the slider must stay still before the player seeks. */
const SEEK_DELAY_MS = 120;

/**
 * Returns the position of the slider while it is dragged, otherwise null, and a function that moves the slider. The player
 * seeks once the slider stays still.
 */
function useDelayedSeek(player: Player): [number | null, (at: number) => void] {
  const [target, setTarget] = useState<number | null>(null);
  useEffect(() => {
    if (target === null) return;
    const timer = window.setTimeout(() => {
      player.seek(target);
      setTarget(null);
    }, SEEK_DELAY_MS);
    return () => window.clearTimeout(timer);
  }, [target, player]);
  return [target, setTarget];
}

interface PositionProps {
  at: number;
  total: number;
  recording: Recording;
  t: RecordingTranslate;
}

function PositionSlider({ at, total, recording, t, onSeek }: PositionProps & { onSeek: (at: number) => void }): ReactNode {
  const [now, end, clock] = [formatDuration(at), totalText(total, recording, t), clockTime(recording, at)];
  const text = clock ? t("placeAtClock", now, end, formatLocalTime(clock)) : t("placeAt", now, end);
  return (
    <input
      type="range" className="player-slider" min={0} max={Math.max(1, total)} step={1} value={at} disabled={total === 0}
      aria-label={t("place")} aria-valuetext={text} onChange={(event) => onSeek(Number(event.target.value))}
    />
  );
}

function PositionText({ at, total, recording, t }: PositionProps): ReactNode {
  const clock = clockTime(recording, at);
  return (
    <span className="player-times">
      <span data-testid="elapsed">{formatDuration(at)}</span>
      <span className="hint" title={recording.milliseconds === null ? t("totalUnknown") : undefined}> / {totalText(total, recording, t)}</span>
      {clock && <time dateTime={clock} title={formatUtcTime(clock)} data-testid="clock">{formatLocalTime(clock)}</time>}
    </span>
  );
}

function totalText(total: number, { milliseconds }: Recording, t: RecordingTranslate): string {
  return milliseconds === null ? t("atLeast", formatDuration(total)) : formatDuration(total);
}

/** Returns the time of day at a position, or null if the start is unknown. */
function clockTime({ began }: Recording, at: number): string | null {
  const time = began === null ? Number.NaN : Date.parse(began) + at;
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}
