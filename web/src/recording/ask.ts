// What the console is asked of recordings.

import { getJson, request } from "../api/client";
import type { Piece, Range } from "./pieces";

/** The recording of one shell or command, or as much of it as is stored. */
export interface Recording {
  number: number;
  complete: boolean;
  /** Null where it goes on, or broke off. */
  milliseconds: number | null;
  began: string | null;
  title: string | null;
  pieces: Piece[];
}

export interface Match {
  at: number;
  line: string;
}

export interface Matches {
  matches: Match[];
  more: boolean;
}

const named = (session: string): string => `/api/v1/recordings/${encodeURIComponent(session)}`;

export async function recordings(session: string): Promise<Recording[]> {
  return (await getJson<{ recordings: Recording[] }>(named(session))).recordings;
}

/** The text of some pieces. */
export async function text(session: string, number: number, { from, to }: Range, signal: AbortSignal): Promise<string> {
  return (await request(`${named(session)}/${number}/text?from=${from}&to=${to}`, { signal })).text();
}

export function matches(session: string, number: number, word: string): Promise<Matches> {
  return getJson(`${named(session)}/${number}/matches?${new URLSearchParams({ text: word })}`);
}
