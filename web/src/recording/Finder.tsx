// What is found in a recording: where a word was shown, its markers, and how it ended.

import { type FormEvent, type ReactNode, useState } from "react";
import { sentence } from "../api";
import { duration } from "../format";
import { Icon } from "../parts/Icon";
import { type Matches, matches, type Recording } from "./ask";
import type { Mark } from "./player";
import type { Words } from "./words";

interface FinderProps {
  session: string;
  recording: Recording;
  words: Words;
  onGo: (at: number) => void;
}

type Search = { state: "none" | "asked" } | { state: "failed"; error: string } | ({ state: "found" } & Matches);

export function Finder({ session, recording, words, onGo }: FinderProps): ReactNode {
  const [search, setSearch] = useState<Search>({ state: "none" });
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const word = String(new FormData(event.currentTarget).get("word") ?? "");
    if (!word.trim() || search.state === "asked") return;
    setSearch({ state: "asked" });
    matches(session, recording.number, word).then(
      (found) => setSearch({ state: "found", ...found }),
      (failure: unknown) => setSearch({ state: "failed", error: sentence(failure) }),
    );
  };
  return (
    <section className="paper player-finder" aria-label={words("search")}>
      <form role="search" onSubmit={submit}>
        <input type="search" name="word" aria-label={words("search")} placeholder={words("search")} maxLength={256} autoComplete="off" spellCheck={false} />
        <button type="submit" className="tool" aria-label={words("find")} title={words("find")}><Icon name="search" /></button>
      </form>
      <p className={search.state === "failed" ? "bad" : "hint"} role="status">{outcome(search, words)}</p>
      {search.state === "found" && search.matches.length > 0 && (
        <ol className="player-hits" aria-label={words("hits")}>
          {search.matches.map(({ at, line }, place) => <li key={place}><Hit at={at} text={line} words={words} onGo={onGo} /></li>)}
        </ol>
      )}
    </section>
  );
}

function outcome(search: Search, words: Words): string {
  switch (search.state) {
    case "none": return "";
    case "asked": return words("searching");
    case "failed": return words("searchFails", search.error);
    case "found": {
      const { length } = search.matches;
      return length === 0 ? words("noHit") : words(search.more ? "hitMore" : "hitCount", length);
    }
  }
}

function Hit({ at, text, words, onGo }: { at: number; text: string; words: Words; onGo: (at: number) => void }): ReactNode {
  return (
    <button type="button" className="player-hit" aria-label={words("goTo", duration(at), text.trim())} onClick={() => onGo(at)}>
      <span>{duration(at)}</span> <code>{text}</code>
    </button>
  );
}

interface MarksProps {
  markers: readonly Mark[];
  exit: Mark | null;
  words: Words;
  onGo: (at: number) => void;
}

export function Marks({ markers, exit, words, onGo }: MarksProps): ReactNode {
  if (markers.length === 0 && !exit) return null;
  return (
    <section className="paper player-finder player-marks" aria-label={words("marks")}>
      <h2>{words("marks")}</h2>
      <ol className="player-hits">
        {markers.map(({ at, text }) => <li key={`${at} ${text}`}><Hit at={at} text={text || words("marker")} words={words} onGo={onGo} /></li>)}
        {exit && <li data-testid="exit"><Hit at={exit.at} text={words("exit", exit.text)} words={words} onGo={onGo} /></li>}
      </ol>
    </section>
  );
}
