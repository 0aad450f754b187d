// One recording as it plays: the screen, what moves it, and what can be found in it.

import { type ReactNode, type RefObject, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { useSearchParams } from "../router";
import { type Recording, text } from "./ask";
import { Controls } from "./Controls";
import { Finder, Marks } from "./Finder";
import type { RecordingTranslate } from "./messages";
import { Player, type Playing } from "./player";
import { XtermStage } from "./stage";

/** How long a gap may be at first, in milliseconds. */
const CAP = 2000;
/** Where people land who follow a match: before it, to see it come. */
const LEAD = 1000;
const STEP = 5000;

export interface Played {
  player: Player;
  stage: XtermStage;
}

interface PlaybackProps {
  session: string;
  recording: Recording;
  t: RecordingTranslate;
  choice: ReactNode;
}

export function Playback({ session, recording, t, choice }: PlaybackProps): ReactNode {
  const [params] = useSearchParams();
  const host = useRef<HTMLDivElement>(null);
  const at = moment(params);
  const played = usePlayer(host, session, recording, t("screen"), at);
  useEffect(() => {
    if (at !== null) played?.player.seek(at);
    // Where the address leads changes; the player is told once.
  }, [at]);
  useKeys(played?.player ?? null);
  return (
    <div className="player-body">
      <div className="player-view">
        <div className="stage-place">
          <div className="stage-room"><div className="stage-host" ref={host} role="group" aria-label={t("screen")} /></div>
        </div>
        {played && <Below played={played} session={session} recording={recording} t={t} choice={choice} />}
      </div>
      <div className="player-aside">
        <Finder session={session} recording={recording} t={t} onGo={(to) => played?.player.seek(to - LEAD)} />
        {played && <Known player={played.player} t={t} />}
      </div>
    </div>
  );
}

function Below({ played, ...rest }: PlaybackProps & { played: Played }): ReactNode {
  const playing = usePlaying(played.player);
  const { t } = rest;
  return (
    <>
      <Controls played={played} playing={playing} {...rest} />
      {playing.error !== null && (
        <p className="notice bad" role="alert">{t("broken", playing.error)} <button type="button" onClick={() => played.player.play()}>{t("tryAgain")}</button></p>
      )}
    </>
  );
}

function Known({ player, t }: { player: Player; t: RecordingTranslate }): ReactNode {
  const { markers, exit } = usePlaying(player);
  return <Marks markers={markers} exit={exit} t={t} onGo={(to) => player.seek(to - LEAD)} />;
}

function usePlaying(player: Player): Playing {
  return useSyncExternalStore(player.subscribe, player.snapshot);
}

/** The moment that the address leads to. */
function moment(params: URLSearchParams): number | null {
  const at = params.get("at");
  return at !== null && /^\d{1,12}$/.test(at) ? Number(at) : null;
}

/** A player for as long as the page shows it. Who was led to a moment looks at that first. */
function usePlayer(host: RefObject<HTMLDivElement | null>, session: string, recording: Recording, label: string, at: number | null): Played | null {
  const [played, setPlayed] = useState<Played | null>(null);
  useEffect(() => {
    if (!host.current) return;
    const stage = new XtermStage(host.current, label);
    const reader = (range: Parameters<typeof text>[2], signal: AbortSignal): Promise<string> => text(session, recording.number, range, signal);
    const player = new Player(recording, reader, stage, everyFrame, () => performance.now(), { at: at ?? 0, cap: CAP, play: at === null });
    setPlayed({ player, stage });
    return () => {
      player.close();
      stage.close();
    };
    // The recording is the same as long as this is shown.
  }, [session, recording]);
  return played;
}

function everyFrame(call: () => void): () => void {
  let frame = 0;
  const again = (): void => {
    frame = requestAnimationFrame(again);
    call();
  };
  frame = requestAnimationFrame(again);
  return () => cancelAnimationFrame(frame);
}

/** Which keys play, wherever they are pressed, but where they write, choose or press something else. */
function useKeys(player: Player | null): void {
  useEffect(() => {
    if (!player) return;
    const press = (event: KeyboardEvent): void => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const act = meaning(event.key, event.target as HTMLElement);
      if (!act) return;
      event.preventDefault();
      if (act === "toggle") player.toggle();
      else player.seek(player.snapshot().position + (act === "back" ? -STEP : STEP));
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [player]);
}

function meaning(key: string, where: HTMLElement): "toggle" | "back" | "forward" | null {
  const slider = where.matches('input[type="range"]');
  if (!slider && where.matches("input, select, textarea:not(.xterm-helper-textarea)")) return null;
  if (document.querySelector("dialog[open]")) return null;
  if (key === " ") return where.matches("button, a, summary") ? null : "toggle";
  if (key === "ArrowLeft" || (slider && key === "ArrowDown")) return "back";
  return key === "ArrowRight" || (slider && key === "ArrowUp") ? "forward" : null;
}
