// The status of a recording, and the reason why a session has none.

import type { Session } from "../api/types";
import type { Recording } from "./recordingApi";

/** The status of a recording. `unknown`: the session is not known, so the recording may still run. */
type RecordingStatus = "complete" | "recording" | "failed" | "unfinished" | "cutOff" | "unknown";
export type UnavailableReason = "off" | "notYet" | "failed" | "nothing";

/** Returns the status of a recording. `session` is null if neither the cluster nor the history knows it. */
export function recordingStatus(recording: Recording, session: Session | null): RecordingStatus {
  if (recording.complete) return "complete";
  if (!session) return "unknown";
  if (session.status === "active") return "recording";
  const state = session.recording?.state;
  return state === "Failed" ? "failed" : state === "Unfinished" ? "unfinished" : "cutOff";
}

/** Returns why a session has no recordings. */
export function unavailableReason(session: Session | null): UnavailableReason {
  if (!session) return "nothing";
  if (!session.recording) return "off";
  if (session.status === "active") return "notYet";
  return session.recording.state === "Failed" ? "failed" : "nothing";
}
