// Terminates many sessions, a few at a time.

import { hasStatus, terminateSession, toErrorMessage } from "../api/client";

const MAX_CONCURRENT = 6;

/** The outcome of a request to terminate a session. The feed says when the session has ended. */
export type TerminationOutcome = { state: "requested" | "alreadyEnded" } | { state: "failed"; error: string };

async function terminateOne(name: string, reason: string): Promise<TerminationOutcome> {
  try {
    await terminateSession(name, reason);
    return { state: "requested" };
  } catch (error) {
    return hasStatus(error, 404, 409) ? { state: "alreadyEnded" } : { state: "failed", error: toErrorMessage(error) };
  }
}

/** Terminates each session, and reports each outcome. */
export async function terminateAll(names: readonly string[], reason: string, onOutcome: (name: string, outcome: TerminationOutcome) => void, terminate = terminateOne): Promise<void> {
  const queue = [...names];
  const worker = async (): Promise<void> => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) onOutcome(name, await terminate(name, reason));
  };
  await Promise.all(Array.from({ length: MAX_CONCURRENT }, worker));
}
