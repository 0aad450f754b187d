// Links in terminals. Programs on the target choose them.

import { createTranslate } from "../i18n";

/** Returns the address of a web link as browsers read it: with an ASCII host and without invisible characters. Null for others. */
export function webAddress(link: string): string | null {
  if (!URL.canParse(link)) return null;
  const { protocol, href } = new URL(link);
  return protocol === "http:" || protocol === "https:" ? href : null;
}

/** Opens a link whose address the terminal shows in a new tab, without access to this page. */
export function openLink(link: string): void {
  const address = webAddress(link);
  if (address !== null) window.open(address, "_blank", "noopener,noreferrer");
}

/** Opens a link that a text stands for (OSC 8) if the user agrees to the address: the text may name another. */
export function openHiddenLink(link: string): void {
  const address = webAddress(link);
  const t = createTranslate(document.documentElement.lang.startsWith("zh") ? "zh" : "en");
  if (address !== null && window.confirm(t("openLink", address))) openLink(address);
}
