// The search box of the terminal.

import { type KeyboardEvent, type ReactNode, useEffect, useState } from "react";
import type { TerminalTranslate } from "./messages";
import type { SearchMatches, TerminalScreen } from "./terminalScreen";

export function SearchBox({ screen, t, onClose }: { screen: TerminalScreen; t: TerminalTranslate; onClose: () => void }): ReactNode {
  const [text, setText] = useState("");
  const [matches, setMatches] = useState<SearchMatches | null>(null);
  useEffect(() => screen.onSearchMatches(setMatches), [screen]);
  useEffect(() => () => screen.clearSearch(), [screen]);
  const onType = (text: string): void => {
    setText(text);
    if (text) screen.find(text, "next", true);
    else screen.clearSearch();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Escape") onClose();
    else if (event.key === "Enter") screen.find(text, event.shiftKey ? "previous" : "next");
    else return;
    event.preventDefault();
  };
  return (
    <div className="shell-search" role="search" onKeyDown={onKeyDown}>
      <input autoFocus aria-label={t("searchLabel")} value={text} onChange={(event) => onType(event.target.value)} />
      <span role="status">{text && matches && matchText(matches, t)}</span>
      <button type="button" aria-label={t("previous")} title={t("previous")} disabled={!text} onClick={() => screen.find(text, "previous")}>↑</button>
      <button type="button" aria-label={t("next")} title={t("next")} disabled={!text} onClick={() => screen.find(text, "next")}>↓</button>
      <button type="button" aria-label={t("close")} title={t("close")} onClick={onClose}>×</button>
    </div>
  );
}

function matchText({ index, count }: SearchMatches, t: TerminalTranslate): string {
  if (count === 0) return t("noMatch");
  return index < 0 ? t("manyMatches", count) : t("matches", index + 1, count);
}
