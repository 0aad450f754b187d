// The player as React state.

import { type RefObject, useEffect, useState, useSyncExternalStore } from "react";
import { ScaledScreen } from "../xterm/scaledScreen";
import { Player, type PlayerState, type ReadSegments } from "./player";
import { fetchSegmentText, type Recording } from "./recordingApi";

const DEFAULT_MAX_GAP_MS = 2000;

export interface PlayerWithScreen {
  player: Player;
  screen: ScaledScreen;
}

export function usePlayerState(player: Player): PlayerState {
  return useSyncExternalStore(player.subscribe, player.snapshot);
}

/** Creates a player. If the address has a position, the player starts there, paused. */
export function usePlayer(
  host: RefObject<HTMLDivElement | null>, session: string, recording: Recording, label: string, at: number | null,
): PlayerWithScreen | null {
  const [playback, setPlayback] = useState<PlayerWithScreen | null>(null);
  useEffect(() => {
    if (!host.current) return;
    const screen = new ScaledScreen(host.current, label);
    const readSegments: ReadSegments = (range, signal) => fetchSegmentText(session, recording.number, range, signal);
    const player = new Player(recording, readSegments, screen, everyFrame, () => performance.now(), { at: at ?? 0, maxGap: DEFAULT_MAX_GAP_MS, play: at === null });
    setPlayback({ player, screen });
    return () => {
      player.close();
      screen.close();
    };
    // The position is for the start only.
  }, [session, recording]);
  return playback;
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
