// Which sessions have something to play: pure.

import type { Session } from "../api";

/** Whether something of its recordings may be stored. Where its gateway died, nobody tells what; that is found out then. */
export function isPlayable({ recording }: Session): boolean {
  if (!recording || recording.mode === "Off" || !recording.location) return false;
  const { state, bytes, channels } = recording;
  return state === undefined || (bytes ?? 0) > 0 || (channels?.length ?? 0) > 0;
}
