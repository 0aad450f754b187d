// What the console answers, and how it is asked. /api/v1/openapi.json has the same in full.

export interface Limits {
  idle_seconds: number | null;
  max_seconds: number | null;
}

/** How a session is recorded, and what became of that once there is something. */
export interface Recording {
  mode?: string;
  location?: string;
  state?: string;
  message?: string;
  bytes?: number;
  channels?: { number: number; bytes: number }[];
}

export interface Session {
  session_id: string;
  name: string;
  user: string;
  subject: string;
  groups: string[];
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
  recording: Recording | null;
  /** The end that was asked for; the history does not tell it. */
  termination?: { requested_by: string; reason: string | null };
  /** Absent where the console does not tell them. */
  limits?: Limits | null;
}

export interface SessionPage {
  sessions: Session[];
  next?: string | null;
}

export interface Target {
  name: string;
  /** Null, as the port is, for who may not list targets. */
  address: string | null;
  port: number | null;
  logins: string[];
  groups: string[];
  description: string | null;
  /** Whether who asks may connect to it; null where no user of the bastion stands for them. */
  may_connect: boolean | null;
  may_connect_as: string[];
}

export interface TargetUser {
  name: string;
  logins: string[];
}

export interface TargetUsers {
  target: Target;
  /** Null for who may not list users. */
  users: TargetUser[] | null;
}

export interface TargetPage {
  targets: Target[];
  next?: string | null;
}

export interface May {
  allowed: boolean;
  reason: string | null;
}

/** What somebody may. A console that is older than the page says less. */
export interface Rights {
  list_sessions: May;
  terminate_sessions: May;
  list_targets: May;
  history?: May;
  observe?: May;
  connect?: May;
  overview?: May;
}

export interface Me {
  user: string;
  groups: string[];
  expires: string | null;
  namespace: string;
  cluster?: string | null;
  bastion_user?: string | null;
  terminal_origin?: string | null;
  rights: Rights;
}

export interface Gateway {
  name: string;
  instance: string;
  renewed_ago: number | null;
  lost: boolean;
  sessions: number;
  draining: boolean;
}

export interface Overview {
  online: number;
  /** Whether the console hears the cluster, so that this is so now. */
  live: boolean;
  /** Null, as the ends are, without a history. */
  starts: number | null;
  ends_by_reason: Record<string, number> | null;
  /** Null for who may not list Leases. */
  gateways: Gateway[] | null;
  audit_backlog: number;
  oldest_unwritten_end: number | null;
}

export interface Happening {
  time: string;
  type: string;
  reason: string;
  message: string;
  count: number;
}

export interface Ways {
  token: boolean;
  oidc?: { name: string } | null;
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

/** What went wrong, as a sentence. */
export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

let tellUnknown = (): void => {};

/** Has somebody told whenever the console does not know who asks: a sign-in ends, or is taken back. */
export function whenUnknown(listener: () => void): void {
  tellUnknown = listener;
}

export async function ask(path: string, init?: RequestInit): Promise<Response> {
  const response = await fetch(path, { credentials: "same-origin", ...init });
  if (response.ok) return response;
  if (response.status === 401) tellUnknown();
  const said = (await problem(response)) ?? response.statusText;
  throw new Refused(response.status, said || `HTTP ${response.status}`);
}

/** The sentence that a refused request is answered with, if there is one. */
export async function problem(response: Response): Promise<string | null> {
  const said: unknown = await response.json().catch(() => null);
  return said && typeof said === "object" && "error" in said ? String(said.error) : null;
}

export async function get<T>(path: string): Promise<T> {
  return (await (await ask(path)).json()) as T;
}

function post(path: string, body: unknown): Promise<Response> {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

const named = (name: string): string => `/api/v1/sessions/${encodeURIComponent(name)}`;

export const me = (): Promise<Me> => get("/api/v1/me");
export const ways = (): Promise<Ways> => get("/auth/ways");
export const signIn = (token: string): Promise<Response> => post("/auth/token", { token });
export const signOut = (): Promise<Response> => post("/auth/out", {});
export const session = (name: string): Promise<Session> => get(named(name));
export const record = (id: string): Promise<Session> => get(`/api/v1/history/${encodeURIComponent(id)}`);
export const events = (name: string): Promise<{ events: Happening[] }> => get(`${named(name)}/events`);
export const history = (query: URLSearchParams): Promise<SessionPage> => get(`/api/v1/history?${query}`);
export const historyFile = (query: URLSearchParams): string => `/api/v1/history.csv?${query}`;
export const target = (name: string): Promise<TargetUsers> => get(`/api/v1/targets/${encodeURIComponent(name)}`);
export const overview = (): Promise<Overview> => get("/api/v1/overview");

/** All targets, however many pages they are. */
export async function targets(): Promise<Target[]> {
  const found: Target[] = [];
  for (let after: string | null = ""; after !== null; ) {
    const page: TargetPage = await get(`/api/v1/targets?limit=1000${after && `&after=${encodeURIComponent(after)}`}`);
    found.push(...page.targets);
    after = page.next ?? null;
  }
  return found;
}

export async function terminate(name: string, reason: string): Promise<Session> {
  return (await (await post(`${named(name)}/termination`, reason ? { reason } : {})).json()) as Session;
}
