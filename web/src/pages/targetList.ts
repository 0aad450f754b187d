// Which targets are on the page, and why one cannot be connected to: pure.

import type { CurrentUser, Target } from "../api/types";
import type { MessageKey } from "../i18n";

/** Those that have each word in their name, address, logins, groups or description. */
export function matching(targets: readonly Target[], text: string): Target[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return targets.filter((it) => {
    const all = [it.name, it.address ?? "", it.description ?? "", ...it.logins, ...it.groups].join("\n").toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

/** Why there is no way to a target: a word of the page, or a sentence of the console; null where there is one. */
export function hindrance(target: Target, me: CurrentUser, hasTerminal: boolean): { word: MessageKey } | { sentence: string } | null {
  if (!hasTerminal) return { word: "noTerminal" };
  if (me.rights.connect && !me.rights.connect.allowed) return me.rights.connect.reason ? { sentence: me.rights.connect.reason } : { word: "mayNotConnect" };
  if (target.may_connect === null) return { word: "nobodyStands" };
  return target.may_connect_as.length > 0 ? null : { word: "mayNotConnect" };
}

export function terminalAddress(target: string, login: string): string {
  return `/terminal/${encodeURIComponent(target)}?${new URLSearchParams({ login })}`;
}
