// The page's routes and their titles.

import type { IconName } from "./components/Icon";
import type { MessageKey, Translate } from "./i18n";

export const NAV_ITEMS: readonly (readonly [string, MessageKey, IconName])[] = [
  ["/overview", "overview", "overview"],
  ["/", "online", "online"],
  ["/history", "history", "history"],
  ["/targets", "targets", "targets"],
];

/** Whether leaving this route would end something: the session of a web terminal ends with its page. */
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
