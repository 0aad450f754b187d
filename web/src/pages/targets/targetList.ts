// The search for targets, and the check whether the user can connect to one.

import type { CurrentUser, Target } from "../../api/types";
import { containsWords } from "../../containsWords";
import type { MessageKey } from "../../i18n";

/** Returns the targets whose name, address, logins, groups or description contain each word. */
export function filterTargets(targets: readonly Target[], text: string): Target[] {
  return targets.filter((it) => containsWords([it.name, it.address, it.description, ...it.logins, ...it.groups], text));
}

/** Returns why the user cannot open a web terminal on a target: a message key, or a message of the console; null if they can. */
export function connectBlocker(target: Target, me: CurrentUser, hasTerminal: boolean): { key: MessageKey } | { message: string } | null {
  if (!hasTerminal) return { key: "noTerminal" };
  if (me.rights.connect && !me.rights.connect.allowed) return me.rights.connect.reason ? { message: me.rights.connect.reason } : { key: "mayNotConnect" };
  if (target.may_connect === null) return { key: "noBastionUser" };
  if (target.may_connect_as.length === 0) return { key: "mayNotConnect" };
  return target.web_terminal_blocker ? { message: target.web_terminal_blocker } : null;
}
