// The page's routes: their paths and titles.

import type { IconName } from "./components/Icon";
import type { MessageKey, Translate } from "./i18n";

export const NAV_ITEMS: readonly (readonly [string, MessageKey, IconName])[] = [
  ["/overview", "overview", "overview"],
  ["/", "online", "online"],
  ["/history", "history", "history"],
  ["/targets", "targets", "targets"],
];

export function sessionPagePath(name: string, id?: string | null): string {
  return `/sessions/${encodeURIComponent(name)}${id ? `?id=${encodeURIComponent(id)}` : ""}`;
}

export function recordingPagePath(name: string, params: Record<string, string>): string {
  return `/recordings/${encodeURIComponent(name)}?${new URLSearchParams(params)}`;
}

export function terminalPagePath(target: string, login: string): string {
  return `/terminal/${encodeURIComponent(target)}?${new URLSearchParams({ login })}`;
}

/** Whether leaving this route would end a session: the session of a web terminal ends with its page. */
export function holdsLiveSession([, page, name]: readonly string[]): boolean {
  return page === "terminal" && Boolean(name);
}

/** Returns the tab's title: the number of online sessions if it is known, the page, and the site. */
export function documentTitle(segments: readonly string[], online: number | null, t: Translate): string {
  const [, page, name] = segments;
  const navItem = NAV_ITEMS.find(([to]) => to === `/${page ?? ""}`);
  const isNamed = name && ["sessions", "recordings", "follow", "terminal"].includes(page ?? "");
  const title = isNamed ? name : t(navItem?.[1] ?? "online");
  return `${online === null ? "" : `(${online}) `}${title} · ${t("title")}`;
}
