// Past sessions as a table for other programs: UTC, RFC 4180.

import type { Session } from "../api";

const COLUMNS = [
  "session_id", "name", "user", "subject", "target", "login", "protocol", "client_address", "client_software", "gateway", "status",
  "reason", "message", "start_time", "end_time", "duration_seconds", "exit_code", "exit_signal", "bytes_in", "bytes_out", "terminated_by",
] as const satisfies readonly (keyof Session)[];

/** A field that a spreadsheet takes for text, whatever somebody called themselves. */
function field(value: string | number | null): string {
  if (value === null) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(sessions: readonly Session[]): string {
  const lines = sessions.map((session) => COLUMNS.map((name) => field(session[name])).join(","));
  return [COLUMNS.join(","), ...lines].map((line) => `${line}\r\n`).join("");
}
