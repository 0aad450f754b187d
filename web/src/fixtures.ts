// Sample data of the tests.

import type { Session } from "./api/types";

export const START_TIME = "2026-01-02T03:04:05Z";

export function makeSession(id: string, overrides: Partial<Session> = {}): Session {
  return {
    session_id: id, name: `s-${id}`, user: "alice", subject: "alice", groups: [], target: "web-1", login: "root", protocol: "SSH",
    client_address: "192.0.2.1", client_port: 4711, client_software: null, gateway: "gateway-0", status: "active", reason: null,
    message: null, start_time: START_TIME, last_seen_time: null, end_time: null, duration_seconds: null, exit_code: null,
    exit_signal: null, bytes_in: null, bytes_out: null, terminated_by: null, recording: null, ...overrides,
  };
}
