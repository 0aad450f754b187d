// Requests to the console about recordings.

import { getJson, request } from "../api/client";
import type { Segment, SegmentRange } from "./segments";

/** The recording of one shell or command, as far as it is stored. */
export interface Recording {
  number: number;
  complete: boolean;
  /** The length; null while the recording runs, or if it was cut off. */
  milliseconds: number | null;
  began: string | null;
  title: string | null;
  pieces: Segment[];
}

interface Match {
  at: number;
  line: string;
}

export interface SearchResult {
  matches: Match[];
  more: boolean;
}

const recordingPath = (session: string): string => `/api/v1/recordings/${encodeURIComponent(session)}`;

export async function fetchRecordings(session: string): Promise<Recording[]> {
  return (await getJson<{ recordings: Recording[] }>(recordingPath(session))).recordings;
}

/** Fetches the text of a range of segments. */
export async function fetchSegmentText(session: string, number: number, { from, to }: SegmentRange, signal: AbortSignal): Promise<string> {
  return (await request(`${recordingPath(session)}/${number}/text?from=${from}&to=${to}`, { signal })).text();
}

/** Searches the text that a recording shows. */
export function searchRecording(session: string, number: number, word: string): Promise<SearchResult> {
  return getJson(`${recordingPath(session)}/${number}/matches?${new URLSearchParams({ text: word })}`);
}
