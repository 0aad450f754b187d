// The panel of a target's files: looks around, downloads and uploads while its session is open.

import { type DragEvent, type FormEvent, type ReactNode, useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { SessionNews } from "./connection";
import { type Entry, filesAddress, join, list, type Listing, parent, size } from "./files";
import { sender } from "./upload";
import { type Upload, Uploads } from "./uploads";
import type { Words } from "./words";

/** Where people come to who sign in. */
const HOME = ".";

interface FilesProps {
  base: string;
  session: SessionNews;
  words: Words;
  onClose: () => void;
}

export function Files({ base, session, words, onClose }: FilesProps): ReactNode {
  const [path, setPath] = useState(HOME);
  const [again, setAgain] = useState(0);
  const { listing, error } = useListing(base, session.name, path, again, words);
  const [uploads] = useState(() => new Uploads(sender(base, session.name), () => setAgain((times) => times + 1)));
  const all = useSyncExternalStore(uploads.subscribe, uploads.snapshot);
  useEffect(() => () => uploads.cancelAll(), [uploads]);
  const [over, setOver] = useState(false);
  const here = listing?.path ?? path;
  const add = (files: readonly File[]): void => uploads.add(files, here, new Set(listing?.entries.map(({ name }) => name)));
  const drop = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    add(dropped(event.dataTransfer));
  };
  return (
    <section
      className={over ? "shell-files over" : "shell-files"}
      aria-label={words("filesOf", session.target)}
      onDragOver={(event) => { event.preventDefault(); setOver(true); }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <div className="shell-bar">
        <h2>{words("filesOf", session.target)}</h2>
        <span className="fill" />
        <button type="button" aria-label={words("close")} title={words("close")} onClick={onClose}>×</button>
      </div>
      <Place key={here} path={here} words={words} onGo={setPath} onRefresh={() => setAgain(again + 1)} />
      {error && <p className="bad" role="alert">{error}</p>}
      {!listing && !error && <p className="hint">{words("loading")}</p>}
      {listing && <Entries listing={listing} link={(name) => filesAddress(base, session.name, join(here, name))} words={words} onGo={setPath} />}
      <Choose words={words} onFiles={add} />
      {all.length > 0 && <UploadList all={all} uploads={uploads} words={words} />}
    </section>
  );
}

/** Files that were dropped; a directory among them cannot be read as one. */
function dropped(data: DataTransfer): File[] {
  const items = [...data.items].filter((item) => item.kind === "file" && !item.webkitGetAsEntry()?.isDirectory);
  return items.map((item) => item.getAsFile()).filter((file) => file !== null);
}

function useListing(base: string, session: string, path: string, again: number, words: Words): { listing: Listing | null; error: string } {
  const [listing, setListing] = useState<Listing | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    const left = new AbortController();
    list(filesAddress(base, session, path), left.signal).then(
      (found) => {
        setError(found ? "" : words("isFile", path));
        if (found) setListing(found);
      },
      (failure: Error) => {
        if (!left.signal.aborted) setError(failure.message);
      },
    );
    return () => left.abort();
  }, [base, session, path, again]);
  return { listing, error };
}

function Place({ path, words, onGo, onRefresh }: { path: string; words: Words; onGo: (path: string) => void; onRefresh: () => void }): ReactNode {
  const [typed, setTyped] = useState(path);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    onGo(typed);
  };
  return (
    <form className="shell-bar" onSubmit={submit}>
      <button type="button" aria-label={words("up")} title={words("up")} onClick={() => onGo(parent(path))}>↑</button>
      <input aria-label={words("path")} value={typed} onChange={(event) => setTyped(event.target.value)} spellCheck={false} />
      <button type="submit">{words("open")}</button>
      <button type="button" aria-label={words("refresh")} title={words("refresh")} onClick={onRefresh}>⟳</button>
    </form>
  );
}

interface EntriesProps {
  listing: Listing;
  link: (name: string) => string;
  words: Words;
  onGo: (path: string) => void;
}

function Entries({ listing, link, words, onGo }: EntriesProps): ReactNode {
  const when = new Intl.DateTimeFormat(words.language === "zh" ? "zh-CN" : "en-GB", { dateStyle: "short", timeStyle: "short" });
  if (listing.entries.length === 0) return <p className="hint">{words("empty")}</p>;
  return (
    <div className="shell-entries" tabIndex={0} role="group" aria-label={listing.path}>
      <table>
        <thead><tr><th scope="col">{words("name")}</th><th scope="col" className="number">{words("size")}</th><th scope="col">{words("modified")}</th></tr></thead>
        <tbody>
          {listing.entries.map((entry) => (
            <tr key={entry.name}>
              <td><Name entry={entry} link={link(entry.name)} words={words} onOpen={() => onGo(join(listing.path, entry.name))} /></td>
              <td className="number">{entry.kind === "file" && size(entry.size)}</td>
              <td>{entry.modified && <time dateTime={entry.modified}>{when.format(new Date(entry.modified))}</time>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What can be done with an entry. Where a link leads is not known, so it can be either. */
function Name({ entry, link, words, onOpen }: { entry: Entry; link: string; words: Words; onOpen: () => void }): ReactNode {
  const { name, kind } = entry;
  const open = <button type="button" className="shell-name" onClick={onOpen}>{name}{kind === "directory" ? "/" : " →"}</button>;
  // In a tab of its own it asks nobody whether to leave this one.
  const download = (text: string): ReactNode => <a href={link} download={name} target="_blank" rel="noopener" aria-label={words("download", name)} title={words("download", name)}>{text}</a>;
  if (kind === "directory") return open;
  if (kind === "link") return <>{open} {download("↓")}</>;
  return kind === "file" ? download(name) : name;
}

function Choose({ words, onFiles }: { words: Words; onFiles: (files: readonly File[]) => void }): ReactNode {
  const input = useRef<HTMLInputElement>(null);
  return (
    <div className="shell-bar">
      <input ref={input} type="file" multiple hidden data-testid="upload" onChange={(event) => { onFiles([...(event.target.files ?? [])]); event.target.value = ""; }} />
      <button type="button" onClick={() => input.current?.click()}>{words("upload")}</button>
      <span className="hint">{words("dropHere")}</span>
    </div>
  );
}

function UploadList({ all, uploads, words }: { all: readonly Upload[]; uploads: Uploads; words: Words }): ReactNode {
  return (
    <ul className="shell-uploads" aria-label={words("uploads")}>
      {all.map(({ id, file, fate }) => (
        <li key={id}>
          <span className="shell-file" title={file.name}>{file.name}</span>
          {fate.state === "going"
            ? <progress aria-label={file.name} max={Math.max(1, file.size)} value={fate.sent} />
            : <span className={fate.state === "failed" || fate.state === "exists" ? "bad" : "hint"} role="status">{told(fate, words)}</span>}
          {(fate.state === "going" || fate.state === "waiting") && <button type="button" aria-label={words("cancelOf", file.name)} onClick={() => uploads.cancel(id)}>{words("cancel")}</button>}
          {fate.state === "exists" && <button type="button" aria-label={words("replaceOf", file.name)} onClick={() => uploads.replace(id)}>{words("replace")}</button>}
        </li>
      ))}
    </ul>
  );
}

function told(fate: Exclude<Upload["fate"], { state: "going" }>, words: Words): string {
  switch (fate.state) {
    case "waiting": return words("waiting");
    case "done": return words("uploaded");
    case "exists": return words("exists");
    case "cancelled": return words("cancelled");
    case "failed": return fate.why ?? words("cut");
  }
}
