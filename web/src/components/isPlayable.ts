import type { Session } from "../api/types";

/** Whether part of a session's recordings may be stored. Without a state, as after a lost gateway, playback has to find out. */
export function isPlayable({ recording }: Session): boolean {
  if (!recording || recording.mode === "Off" || !recording.location) return false;
  const { state, bytes, channels } = recording;
  return state === undefined || (bytes ?? 0) > 0 || (channels?.length ?? 0) > 0;
}
