// The search in a recording, and the list of its markers.

import { type FormEvent, type ReactNode, useState } from "react";
import { toErrorMessage } from "../api/client";
import { Icon } from "../components/Icon";
import { formatDuration } from "../format";
import type { RecordingTranslate } from "./messages";
import type { TimeMark } from "./player";
import { type Recording, searchRecording, type SearchResult } from "./recordingApi";

interface RecordingSearchProps {
  session: string;
  recording: Recording;
  t: RecordingTranslate;
  onSeek: (at: number) => void;
}

type Search = { state: "none" | "searching" } | { state: "failed"; error: string } | ({ state: "found" } & SearchResult);

export function RecordingSearch({ session, recording, t, onSeek }: RecordingSearchProps): ReactNode {
  const [search, setSearch] = useState<Search>({ state: "none" });
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const word = String(new FormData(event.currentTarget).get("word") ?? "");
    if (!word.trim() || search.state === "searching") return;
    setSearch({ state: "searching" });
    searchRecording(session, recording.number, word).then(
      (found) => setSearch({ state: "found", ...found }),
      (error: unknown) => setSearch({ state: "failed", error: toErrorMessage(error) }),
    );
  };
  return (
    <section className="paper player-panel" aria-label={t("search")}>
      <form role="search" onSubmit={submit}>
        <input type="search" name="word" aria-label={t("search")} placeholder={t("search")} maxLength={256} autoComplete="off" spellCheck={false} />
        <button type="submit" className="tool" aria-label={t("find")} title={t("find")}><Icon name="search" /></button>
      </form>
      <p className={search.state === "failed" ? "bad" : "hint"} role="status">{statusText(search, t)}</p>
      {search.state === "found" && search.matches.length > 0 && (
        <ol className="player-matches" aria-label={t("hits")}>
          {search.matches.map(({ at, line }, index) => <li key={index}><MatchButton at={at} text={line} t={t} onSeek={onSeek} /></li>)}
        </ol>
      )}
    </section>
  );
}

function statusText(search: Search, t: RecordingTranslate): string {
  switch (search.state) {
    case "none": return "";
    case "searching": return t("searching");
    case "failed": return t("searchFails", search.error);
    case "found": {
      const { length } = search.matches;
      return length === 0 ? t("noHit") : t(search.more ? "hitMore" : "hitCount", length);
    }
  }
}

function MatchButton({ at, text, t, onSeek }: { at: number; text: string; t: RecordingTranslate; onSeek: (at: number) => void }): ReactNode {
  return (
    <button type="button" className="player-match" aria-label={t("goTo", formatDuration(at), text.trim())} onClick={() => onSeek(at)}>
      <span>{formatDuration(at)}</span> <code>{text}</code>
    </button>
  );
}

interface MarkListProps {
  markers: readonly TimeMark[];
  exit: TimeMark | null;
  t: RecordingTranslate;
  onSeek: (at: number) => void;
}

export function MarkList({ markers, exit, t, onSeek }: MarkListProps): ReactNode {
  if (markers.length === 0 && !exit) return null;
  return (
    <section className="paper player-panel player-marks" aria-label={t("marks")}>
      <h2>{t("marks")}</h2>
      <ol className="player-matches">
        {markers.map(({ at, text }) => <li key={`${at} ${text}`}><MatchButton at={at} text={text || t("marker")} t={t} onSeek={onSeek} /></li>)}
        {exit && <li data-testid="exit"><MatchButton at={exit.at} text={t("exit", exit.text)} t={t} onSeek={onSeek} /></li>}
      </ol>
    </section>
  );
}
