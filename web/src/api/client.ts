// Client of the console's HTTP API.

import type { CurrentUser, Overview, Session, SessionEvent, SessionList, SignInMethods, Target, TargetAccess, TargetList } from "./types";

/** The error of a request that the console answered with an error status. The message is the console's. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Whether a thrown value is an `ApiError` with one of these statuses. */
export function hasStatus(error: unknown, ...statuses: number[]): boolean {
  return error instanceof ApiError && statuses.includes(error.status);
}

/** Returns the message of a thrown value. */
export function toErrorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

let notifyUnauthorized = (): void => {};

/** Sets the listener for answers with status 401, which mean that the sign-in has expired or was revoked. */
export function onUnauthorized(listener: () => void): void {
  notifyUnauthorized = listener;
}

/** Sends a request with the session cookie. Throws an `ApiError` unless the status is 2xx. */
export async function request(path: string, init?: RequestInit): Promise<Response> {
  const response = await fetch(path, { credentials: "same-origin", ...init });
  if (response.ok) return response;
  if (response.status === 401) notifyUnauthorized();
  const message = (await readErrorMessage(response)) ?? response.statusText;
  throw new ApiError(response.status, message || `HTTP ${response.status}`);
}

/** Returns the `error` field of a JSON body, or null if there is none. */
export async function readErrorMessage(response: Response): Promise<string | null> {
  const body: unknown = await response.json().catch(() => null);
  return body && typeof body === "object" && "error" in body ? String(body.error) : null;
}

export async function getJson<T>(path: string): Promise<T> {
  return (await (await request(path)).json()) as T;
}

function postJson(path: string, body: unknown): Promise<Response> {
  return request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

const sessionPath = (name: string): string => `/api/v1/sessions/${encodeURIComponent(name)}`;

export const fetchCurrentUser = (): Promise<CurrentUser> => getJson("/api/v1/me");
export const fetchSignInMethods = (): Promise<SignInMethods> => getJson("/auth/ways");
export const signIn = (token: string): Promise<Response> => postJson("/auth/token", { token });
export const signOut = (): Promise<Response> => postJson("/auth/out", {});
export const fetchSession = (name: string): Promise<Session> => getJson(sessionPath(name));
export const fetchHistoryRecord = (id: string): Promise<Session> => getJson(`/api/v1/history/${encodeURIComponent(id)}`);
export const fetchSessionEvents = (name: string): Promise<{ events: SessionEvent[] }> => getJson(`${sessionPath(name)}/events`);
export const fetchHistory = (query: URLSearchParams): Promise<SessionList> => getJson(`/api/v1/history?${query}`);
export const historyCsvPath = (query: URLSearchParams): string => `/api/v1/history.csv?${query}`;
export const fetchTargetAccess = (name: string): Promise<TargetAccess> => getJson(`/api/v1/targets/${encodeURIComponent(name)}`);
export const fetchOverview = (): Promise<Overview> => getJson("/api/v1/overview");

/** Fetches all targets, page by page. */
export async function fetchAllTargets(): Promise<Target[]> {
  const targets: Target[] = [];
  for (let after: string | null = ""; after !== null; ) {
    const page: TargetList = await getJson(`/api/v1/targets?limit=1000${after && `&after=${encodeURIComponent(after)}`}`);
    targets.push(...page.targets);
    after = page.next ?? null;
  }
  return targets;
}

/** Requests the end of a session. The session's user reads the reason. */
export async function terminateSession(name: string, reason: string): Promise<Session> {
  return (await (await postJson(`${sessionPath(name)}/termination`, reason ? { reason } : {})).json()) as Session;
}
