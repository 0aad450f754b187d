import { expect, it } from "vitest";
import type { CurrentUser, Target } from "../../api/types";
import { connectBlocker, filterTargets } from "./targetList";

const target = (more: Partial<Target> = {}): Target => ({
  name: "web-1", address: "192.0.2.7", port: 22, logins: ["root"], groups: ["web"], description: null, may_connect: true, may_connect_as: ["root"], ...more,
});
const may = { allowed: true, reason: null };
const me = (connect = may as CurrentUser["rights"]["connect"]): CurrentUser => ({
  user: "alice", groups: [], expires: null, namespace: "bastion", rights: { list_sessions: may, terminate_sessions: may, list_targets: may, ...(connect && { connect }) },
});

it("finds targets by any of their fields", () => {
  const all = [target(), target({ name: "db", address: null, groups: [], description: "The ledger" })];
  const found = (text: string): string[] => filterTargets(all, text).map((it) => it.name);
  expect([found(""), found("LEDGER"), found("web 192"), found("web ledger")]).toEqual([["web-1", "db"], ["db"], ["web-1"], []]);
});

it("returns the most general blocker", () => {
  expect(connectBlocker(target(), me(), true)).toBeNull();
  expect(connectBlocker(target(), me(), false)).toEqual({ key: "noTerminal" });
  expect(connectBlocker(target(), me({ allowed: false, reason: "expired" }), true)).toEqual({ message: "expired" });
  expect(connectBlocker(target({ may_connect: null, may_connect_as: [] }), me(), true)).toEqual({ key: "noBastionUser" });
  expect(connectBlocker(target({ may_connect: false, may_connect_as: [] }), me(), true)).toEqual({ key: "mayNotConnect" });
  expect(connectBlocker(target({ web_terminal_blocker: "keys" }), me(), true)).toEqual({ message: "keys" });
});
