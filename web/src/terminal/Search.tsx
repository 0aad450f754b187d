// The box that searches what the terminal shows, and showed before.

import { type KeyboardEvent, type ReactNode, useEffect, useState } from "react";
import type { TerminalTranslate } from "./messages";
import type { Found, Screen } from "./screen";

export function Search({ screen, t, onClose }: { screen: Screen; t: TerminalTranslate; onClose: () => void }): ReactNode {
  const [text, setText] = useState("");
  const [found, setFound] = useState<Found | null>(null);
  useEffect(() => screen.onFound(setFound), [screen]);
  useEffect(() => () => screen.forgetSearch(), [screen]);
  const type = (text: string): void => {
    setText(text);
    if (text) screen.find(text, "next", true);
    else screen.forgetSearch();
  };
  const press = (event: KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Escape") onClose();
    else if (event.key === "Enter") screen.find(text, event.shiftKey ? "previous" : "next");
    else return;
    event.preventDefault();
  };
  return (
    <div className="shell-search" role="search" onKeyDown={press}>
      <input autoFocus aria-label={t("searchLabel")} value={text} onChange={(event) => type(event.target.value)} />
      <span role="status">{text && found && told(found, t)}</span>
      <button type="button" aria-label={t("previous")} title={t("previous")} disabled={!text} onClick={() => screen.find(text, "previous")}>↑</button>
      <button type="button" aria-label={t("next")} title={t("next")} disabled={!text} onClick={() => screen.find(text, "next")}>↓</button>
      <button type="button" aria-label={t("close")} title={t("close")} onClick={onClose}>×</button>
    </div>
  );
}

function told({ index, count }: Found, t: TerminalTranslate): string {
  if (count === 0) return t("noMatch");
  return index < 0 ? t("manyMatches", count) : t("matches", index + 1, count);
}
