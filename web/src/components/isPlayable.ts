import type { Session } from "../api/types";

/**
 * Whether part of a session's recordings may be stored. A recording without a state, as after the loss of the gateway,
 * counts as playable, because only playback shows what is stored.
 */
export function isPlayable({ recording }: Session): boolean {
  if (!recording || recording.mode === "Off" || !recording.location) return false;
  const { state, bytes, channels } = recording;
  return state === undefined || (bytes ?? 0) > 0 || (channels?.length ?? 0) > 0;
}
