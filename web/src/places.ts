// The places of the page, and what each is called in the browser's tab: pure.

import type { Picture } from "./parts/Icon";
import type { Say, Word } from "./words";

export const PLACES: readonly (readonly [string, Word, Picture])[] = [
  ["/overview", "overview", "overview"],
  ["/", "online", "online"],
  ["/history", "history", "history"],
  ["/targets", "targets", "targets"],
];

/** Whether what is open in this place would be lost with the page: a terminal's session ends with it. */
export function stays([, part, name]: readonly string[]): boolean {
  return part === "terminal" && Boolean(name);
}

/** What the tab says: how many are online, where that is known, then the place, then whose page it is. */
export function tabTitle(parts: readonly string[], online: number | null, say: Say): string {
  const [, part, name] = parts;
  const known = PLACES.find(([to]) => to === `/${part ?? ""}`);
  const named = name && ["sessions", "recordings", "follow", "terminal"].includes(part ?? "");
  const place = named ? name : say(known?.[1] ?? "online");
  return `${online === null ? "" : `(${online}) `}${place} · ${say("title")}`;
}
