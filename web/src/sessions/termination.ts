// Asking for the end of many sessions: a few at a time, and each with an outcome of its own.

import { ApiError, errorMessage, terminateSession } from "../api/client";

/** How many are asked for at a time. */
const AT_A_TIME = 6;

/** What became of asking; whether a session has ended, the live list says. */
export type Outcome = { state: "waiting" | "asked" | "gone" } | { state: "failed"; error: string };

async function one(name: string, reason: string): Promise<Outcome> {
  try {
    await terminateSession(name, reason);
    return { state: "asked" };
  } catch (error) {
    const gone = error instanceof ApiError && (error.status === 404 || error.status === 409);
    return gone ? { state: "gone" } : { state: "failed", error: errorMessage(error) };
  }
}

/** Asks for the end of each, and says of each what became of it. */
export async function endAll(names: readonly string[], reason: string, note: (name: string, outcome: Outcome) => void, end = one): Promise<void> {
  const waiting = [...names];
  const worker = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) note(name, await end(name, reason));
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}
