// What is found in a recording: where a word was shown, its markers, and how it ended.

import { type FormEvent, type ReactNode, useState } from "react";
import { toErrorMessage } from "../api/client";
import { Icon } from "../components/Icon";
import { formatDuration } from "../format";
import { type Matches, matches, type Recording } from "./ask";
import type { RecordingTranslate } from "./messages";
import type { Mark } from "./player";

interface FinderProps {
  session: string;
  recording: Recording;
  t: RecordingTranslate;
  onGo: (at: number) => void;
}

type Search = { state: "none" | "asked" } | { state: "failed"; error: string } | ({ state: "found" } & Matches);

export function Finder({ session, recording, t, onGo }: FinderProps): ReactNode {
  const [search, setSearch] = useState<Search>({ state: "none" });
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const word = String(new FormData(event.currentTarget).get("word") ?? "");
    if (!word.trim() || search.state === "asked") return;
    setSearch({ state: "asked" });
    matches(session, recording.number, word).then(
      (found) => setSearch({ state: "found", ...found }),
      (failure: unknown) => setSearch({ state: "failed", error: toErrorMessage(failure) }),
    );
  };
  return (
    <section className="paper player-finder" aria-label={t("search")}>
      <form role="search" onSubmit={submit}>
        <input type="search" name="word" aria-label={t("search")} placeholder={t("search")} maxLength={256} autoComplete="off" spellCheck={false} />
        <button type="submit" className="tool" aria-label={t("find")} title={t("find")}><Icon name="search" /></button>
      </form>
      <p className={search.state === "failed" ? "bad" : "hint"} role="status">{outcome(search, t)}</p>
      {search.state === "found" && search.matches.length > 0 && (
        <ol className="player-hits" aria-label={t("hits")}>
          {search.matches.map(({ at, line }, place) => <li key={place}><Hit at={at} text={line} t={t} onGo={onGo} /></li>)}
        </ol>
      )}
    </section>
  );
}

function outcome(search: Search, t: RecordingTranslate): string {
  switch (search.state) {
    case "none": return "";
    case "asked": return t("searching");
    case "failed": return t("searchFails", search.error);
    case "found": {
      const { length } = search.matches;
      return length === 0 ? t("noHit") : t(search.more ? "hitMore" : "hitCount", length);
    }
  }
}

function Hit({ at, text, t, onGo }: { at: number; text: string; t: RecordingTranslate; onGo: (at: number) => void }): ReactNode {
  return (
    <button type="button" className="player-hit" aria-label={t("goTo", formatDuration(at), text.trim())} onClick={() => onGo(at)}>
      <span>{formatDuration(at)}</span> <code>{text}</code>
    </button>
  );
}

interface MarksProps {
  markers: readonly Mark[];
  exit: Mark | null;
  t: RecordingTranslate;
  onGo: (at: number) => void;
}

export function Marks({ markers, exit, t, onGo }: MarksProps): ReactNode {
  if (markers.length === 0 && !exit) return null;
  return (
    <section className="paper player-finder player-marks" aria-label={t("marks")}>
      <h2>{t("marks")}</h2>
      <ol className="player-hits">
        {markers.map(({ at, text }) => <li key={`${at} ${text}`}><Hit at={at} text={text || t("marker")} t={t} onGo={onGo} /></li>)}
        {exit && <li data-testid="exit"><Hit at={exit.at} text={t("exit", exit.text)} t={t} onGo={onGo} /></li>}
      </ol>
    </section>
  );
}
