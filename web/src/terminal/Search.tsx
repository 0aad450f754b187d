// The box that searches what the terminal shows, and showed before.

import { type KeyboardEvent, type ReactNode, useEffect, useState } from "react";
import type { Found, Screen } from "./screen";
import type { Words } from "./words";

export function Search({ screen, words, onClose }: { screen: Screen; words: Words; onClose: () => void }): ReactNode {
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
      <input autoFocus aria-label={words("searchLabel")} value={text} onChange={(event) => type(event.target.value)} />
      <span role="status">{text && found && told(found, words)}</span>
      <button type="button" aria-label={words("previous")} title={words("previous")} disabled={!text} onClick={() => screen.find(text, "previous")}>↑</button>
      <button type="button" aria-label={words("next")} title={words("next")} disabled={!text} onClick={() => screen.find(text, "next")}>↓</button>
      <button type="button" aria-label={words("close")} title={words("close")} onClick={onClose}>×</button>
    </div>
  );
}

function told({ index, count }: Found, words: Words): string {
  if (count === 0) return words("noMatch");
  return index < 0 ? words("manyMatches", count) : words("matches", index + 1, count);
}
