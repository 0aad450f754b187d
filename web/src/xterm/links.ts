// Links in terminals. Programs on the target choose them.

import { createTranslate } from "../i18n";

/** Returns the address of a web link as browsers read it, with an ASCII host and no invisible characters; otherwise null. */
export function webAddress(link: string): string | null {
  if (!URL.canParse(link)) return null;
  const { protocol, href } = new URL(link);
  return protocol === "http:" || protocol === "https:" ? href : null;
}

/** Opens a link in a new tab, which has no access to this page. The terminal must show the link's address. */
export function openLink(link: string): void {
  const address = webAddress(link);
  if (address !== null) window.open(address, "_blank", "noopener,noreferrer");
}

/** Opens the link of a text (OSC 8) if the user agrees to its address, because the text may name another address. */
export function openHiddenLink(link: string): void {
  const address = webAddress(link);
  const t = createTranslate(document.documentElement.lang.startsWith("zh") ? "zh" : "en");
  if (address !== null && window.confirm(t("openLink", address))) openLink(address);
}
