// What there is of a session's recording, and what is not: pure.

import type { Session } from "../api/types";
import type { Recording } from "./ask";

/** `open` where nobody tells whether the session goes on. */
export type Standing = "whole" | "going" | "failed" | "unfinished" | "cut" | "open";
/** Why there is none. */
export type Lack = "off" | "notYet" | "failed" | "nothing";

/** How a recording stands, of a session that is known or not. */
export function standing(recording: Recording, session: Session | null): Standing {
  if (recording.complete) return "whole";
  if (!session) return "open";
  if (session.status === "active") return "going";
  const state = session.recording?.state;
  return state === "Failed" ? "failed" : state === "Unfinished" ? "unfinished" : "cut";
}

export function lack(session: Session | null): Lack {
  if (!session) return "nothing";
  if (!session.recording) return "off";
  if (session.status === "active") return "notYet";
  return session.recording.state === "Failed" ? "failed" : "nothing";
}
