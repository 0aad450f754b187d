// JSON types of the console's API. /api/v1/openapi.json describes them in full.

interface SessionLimits {
  idle_seconds: number | null;
  max_seconds: number | null;
}

/** How a session is recorded, and the state of that recording once it has begun. */
export interface SessionRecording {
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
  recording: SessionRecording | null;
  /** The requested termination. Records of the history do not have it. */
  termination?: { requested_by: string; reason: string | null };
  /** Absent if the console does not report limits. */
  limits?: SessionLimits | null;
}

export interface SessionList {
  sessions: Session[];
  next?: string | null;
}

export interface Target {
  name: string;
  /** The address and the port are null for users who may not list targets. */
  address: string | null;
  port: number | null;
  logins: string[];
  groups: string[];
  description: string | null;
  /** Whether the signed-in user may connect; null if no BastionUser belongs to them. */
  may_connect: boolean | null;
  may_connect_as: string[];
  /** Why the user may not open a web terminal on the target although an SSH client may connect. An older console omits it. */
  web_terminal_blocker?: string | null;
}

interface TargetUser {
  name: string;
  logins: string[];
}

export interface TargetAccess {
  target: Target;
  /** Null for users who may not list BastionUsers. */
  users: TargetUser[] | null;
}

export interface TargetList {
  targets: Target[];
  next?: string | null;
}

interface Permission {
  allowed: boolean;
  reason: string | null;
}

/** The permissions of the signed-in user. A console that is older than the page omits some of them. */
interface Permissions {
  list_sessions: Permission;
  terminate_sessions: Permission;
  list_targets: Permission;
  history?: Permission;
  observe?: Permission;
  connect?: Permission;
  overview?: Permission;
}

export interface CurrentUser {
  user: string;
  groups: string[];
  expires: string | null;
  namespace: string;
  cluster?: string | null;
  bastion_user?: string | null;
  terminal_origin?: string | null;
  rights: Permissions;
}

export interface GatewayStatus {
  name: string;
  instance: string;
  renewed_ago: number | null;
  lost: boolean;
  sessions: number;
  draining: boolean;
}

export interface Overview {
  online: number;
  /** Whether the console's watch is connected, so that the figures are current. */
  live: boolean;
  /** `starts` and `ends_by_reason` are null if there is no audit database. */
  starts: number | null;
  ends_by_reason: Record<string, number> | null;
  /** Null for users who may not list Leases. */
  gateways: GatewayStatus[] | null;
  audit_backlog: number;
  oldest_unwritten_end: number | null;
}

/** A Kubernetes Event about a session. */
export interface SessionEvent {
  time: string;
  type: string;
  reason: string;
  message: string;
  count: number;
}

export interface SignInMethods {
  token: boolean;
  oidc?: { name: string } | null;
}
