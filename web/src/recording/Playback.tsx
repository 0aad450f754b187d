// The player of one recording: its screen, controls, search and markers.

import { type ReactNode, useEffect, useRef } from "react";
import { useSearchParams } from "../router";
import type { RecordingTranslate } from "./messages";
import { Player } from "./player";
import { PlayerControls } from "./PlayerControls";
import type { Recording } from "./recordingApi";
import { MarkList, RecordingSearch } from "./RecordingSearch";
import { type PlayerWithScreen, usePlayer, usePlayerState } from "./usePlayer";
import { usePlayerKeys } from "./usePlayerKeys";

/** A seek to a match moves to a position this long before the match. */
const LEAD_MS = 1000;

interface PlaybackProps {
  session: string;
  recording: Recording;
  t: RecordingTranslate;
  choice: ReactNode;
}

export function Playback({ session, recording, t, choice }: PlaybackProps): ReactNode {
  const [params] = useSearchParams();
  const host = useRef<HTMLDivElement>(null);
  const at = startPosition(params);
  const playback = usePlayer(host, session, recording, t("screen"), at);
  useEffect(() => {
    if (at !== null) playback?.player.seek(at);
    // Only a change of the address seeks here. A new player starts at the position by itself.
  }, [at]);
  usePlayerKeys(playback?.player ?? null);
  return (
    <div className="player-body">
      <div className="player-view">
        <div className="screen-area">
          <div className="screen-viewport"><div className="screen-host" ref={host} role="group" aria-label={t("screen")} /></div>
        </div>
        {playback && <PlaybackFooter playback={playback} session={session} recording={recording} t={t} choice={choice} />}
      </div>
      <div className="player-aside">
        <RecordingSearch session={session} recording={recording} t={t} onSeek={(to) => playback?.player.seek(to - LEAD_MS)} />
        {playback && <PlaybackMarks player={playback.player} t={t} />}
      </div>
    </div>
  );
}

function PlaybackFooter({ playback, ...rest }: PlaybackProps & { playback: PlayerWithScreen }): ReactNode {
  const state = usePlayerState(playback.player);
  const { t } = rest;
  return (
    <>
      <PlayerControls playback={playback} state={state} {...rest} />
      {state.error !== null && (
        <p className="notice bad" role="alert">{t("broken", state.error)} <button type="button" onClick={() => playback.player.play()}>{t("tryAgain")}</button></p>
      )}
    </>
  );
}

function PlaybackMarks({ player, t }: { player: Player; t: RecordingTranslate }): ReactNode {
  const { markers, exit } = usePlayerState(player);
  return <MarkList markers={markers} exit={exit} t={t} onSeek={(to) => player.seek(to - LEAD_MS)} />;
}

/** Returns the position in the address, or null. */
function startPosition(params: URLSearchParams): number | null {
  const at = params.get("at");
  return at !== null && /^\d{1,12}$/.test(at) ? Number(at) : null;
}
