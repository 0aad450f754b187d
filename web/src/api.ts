// What the console answers, and how it is asked. docs/console.md and /api/v1/openapi.json have the same in words.

export interface Session {
  session_id: string;
  name: string;
  user: string;
  subject: string;
  target: string;
  login: string;
  protocol: string;
  client_address: string;
  client_port: number;
  client_software: string | null;
  gateway: string;
  status: "active" | "closed" | "timeout" | "terminated";
  reason: string | null;
  message: string | null;
  start_time: string;
  last_seen_time: string | null;
  end_time: string | null;
  duration_seconds: number | null;
  exit_code: number | null;
  exit_signal: string | null;
  bytes_in: number | null;
  bytes_out: number | null;
  terminated_by: string | null;
  recording: { state?: string; [field: string]: unknown } | null;
  termination?: { requested_by: string; reason: string | null };
}

export interface SessionPage {
  sessions: Session[];
  next: string | null;
}

export interface Target {
  name: string;
  [field: string]: unknown;
}

export interface TargetPage {
  targets: Target[];
  next: string | null;
}

export interface May {
  allowed: boolean;
  reason: string | null;
}

export interface Me {
  user: string;
  groups: string[];
  expires: string | null;
  namespace: string;
  /** Where terminals are, if not on this site. */
  terminal_origin?: string | null;
  rights: { list_sessions: May; terminate_sessions: May; list_targets: May };
}

/** What the console refused, in its own words. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

async function ask(path: string, init?: RequestInit): Promise<Response> {
  const response = await fetch(path, { credentials: "same-origin", ...init });
  if (response.ok) return response;
  const problem: unknown = await response.json().catch(() => null);
  const said = problem && typeof problem === "object" && "error" in problem ? String(problem.error) : response.statusText;
  throw new Refused(response.status, said);
}

async function get<T>(path: string): Promise<T> {
  return (await (await ask(path)).json()) as T;
}

function post(path: string, body: unknown): Promise<Response> {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

export interface Happening {
  time: string;
  type: string;
  reason: string;
  message: string;
  count: number;
}

export const session = (name: string): Promise<Session> => get(`/api/v1/sessions/${encodeURIComponent(name)}`);
export const events = (name: string): Promise<{ events: Happening[] }> => get(`/api/v1/sessions/${encodeURIComponent(name)}/events`);
export const me = (): Promise<Me> => get("/api/v1/me");
export const ways = (): Promise<{ token: boolean }> => get("/auth/ways");
export const signIn = (token: string): Promise<Response> => post("/auth/token", { token });
export const signOut = (): Promise<Response> => post("/auth/out", {});
export const history = (query: URLSearchParams): Promise<SessionPage> => get(`/api/v1/history?${query}`);
export const targets = (after: string | null): Promise<TargetPage> =>
  get(`/api/v1/targets?limit=1000${after ? `&after=${encodeURIComponent(after)}` : ""}`);

export async function terminate(name: string, reason: string): Promise<Session> {
  const path = `/api/v1/sessions/${encodeURIComponent(name)}/termination`;
  return (await (await post(path, reason ? { reason } : {})).json()) as Session;
}
