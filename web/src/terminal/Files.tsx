// The panel of a target's files: looks around, downloads and uploads while its session is open.

import { type DragEvent, type FormEvent, type ReactNode, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { formatBytes } from "../format";
import type { Sftp } from "../sftp/client";
import { download, upload } from "../sftp/transfer";
import { type Entry, join, list, type Listing, parent, sentence } from "./files";
import type { TerminalTranslate } from "./messages";
import { type Transfer, Transfers } from "./transfers";

/** Where people come to who sign in. */
const HOME = ".";
/** How many entries of a directory are shown: more than that nobody reads. */
const MOST = 2000;

interface FilesProps {
  /** Where the files are. */
  target: string;
  /** The way to them, which is opened where there is none. */
  open: () => Sftp;
  t: TerminalTranslate;
  hidden: boolean;
  /** `busy` says whether files are still on their way. */
  onClose: (busy: boolean) => void;
}

export function Files({ target, open, t, hidden, onClose }: FilesProps): ReactNode {
  const [path, setPath] = useState(HOME);
  const [again, setAgain] = useState(0);
  const { listing, error } = useListing(open, path, again, t);
  const [transfers] = useState(() => new Transfers());
  const [over, setOver] = useState(false);
  const here = listing?.path ?? path;
  const put = (files: readonly File[]): void => {
    for (const file of files) {
      transfers.add("up", file.name, file.size, async ({ overwrite, ...going }) => {
        await upload(open(), file, join(here, file.name), overwrite, going);
        setAgain((times) => times + 1);
      });
    }
  };
  const get = ({ name, size }: Entry): void =>
    transfers.add("down", name, size ?? 0, async (going) => save(await download(open(), join(here, name), going), name));
  const drop = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    put(dropped(event.dataTransfer));
  };
  return (
    <section
      className={over ? "shell-files over" : "shell-files"}
      aria-label={t("filesOf", target)}
      hidden={hidden}
      onDragOver={(event) => { event.preventDefault(); setOver(true); }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <div className="shell-bar">
        <h2>{t("filesOf", target)}</h2>
        <span className="fill" />
        <button type="button" aria-label={t("close")} title={t("close")} onClick={() => onClose(transfers.busy())}>×</button>
      </div>
      <Place key={here} path={here} t={t} onGo={setPath} onRefresh={() => setAgain(again + 1)} />
      {error && <p className="bad" role="alert">{error}</p>}
      {!listing && !error && <p className="hint">{t("loading")}</p>}
      {listing && <Entries listing={listing} t={t} onGo={setPath} onDownload={get} />}
      <Choose t={t} onFiles={put} />
      <TransferList transfers={transfers} t={t} />
    </section>
  );
}

/** Has the browser save something as a file. */
function save(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // Once the browser has begun with it.
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Files that were dropped; a directory among them cannot be read as one. */
function dropped(data: DataTransfer): File[] {
  const items = [...data.items].filter((item) => item.kind === "file" && !item.webkitGetAsEntry()?.isDirectory);
  return items.map((item) => item.getAsFile()).filter((file) => file !== null);
}

function useListing(open: () => Sftp, path: string, again: number, t: TerminalTranslate): { listing: Listing | null; error: string } {
  const [listing, setListing] = useState<Listing | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    let left = false;
    list(open(), path).then(
      (found) => {
        if (left) return;
        setError(found ? "" : t("isFile", path));
        if (found) setListing(found);
      },
      (failure: unknown) => {
        if (!left) setError(sentence(failure, t));
      },
    );
    return () => {
      left = true;
    };
    // What opens them is always the same to it, and another language is no reason to ask again.
  }, [path, again]);
  return { listing, error };
}

function Place({ path, t, onGo, onRefresh }: { path: string; t: TerminalTranslate; onGo: (path: string) => void; onRefresh: () => void }): ReactNode {
  const [typed, setTyped] = useState(path);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    onGo(typed);
  };
  return (
    <form className="shell-bar" onSubmit={submit}>
      <button type="button" aria-label={t("up")} title={t("up")} onClick={() => onGo(parent(path))}>↑</button>
      <input aria-label={t("path")} value={typed} onChange={(event) => setTyped(event.target.value)} spellCheck={false} />
      <button type="submit">{t("open")}</button>
      <button type="button" aria-label={t("refresh")} title={t("refresh")} onClick={onRefresh}>⟳</button>
    </form>
  );
}

interface EntriesProps {
  listing: Listing;
  t: TerminalTranslate;
  onGo: (path: string) => void;
  onDownload: (entry: Entry) => void;
}

function Entries({ listing, t, onGo, onDownload }: EntriesProps): ReactNode {
  const when = new Intl.DateTimeFormat(t.language === "zh" ? "zh-CN" : "en-GB", { dateStyle: "short", timeStyle: "short" });
  if (listing.entries.length === 0) return <p className="hint">{t("empty")}</p>;
  const more = listing.entries.length - MOST;
  return (
    <div className="shell-entries" tabIndex={0} role="group" aria-label={listing.path}>
      <table>
        <thead><tr><th scope="col">{t("name")}</th><th scope="col" className="number">{t("size")}</th><th scope="col">{t("modified")}</th></tr></thead>
        <tbody>
          {listing.entries.slice(0, MOST).map((entry) => (
            <tr key={entry.name}>
              <td><Name entry={entry} t={t} onOpen={() => onGo(join(listing.path, entry.name))} onDownload={() => onDownload(entry)} /></td>
              <td className="number">{entry.kind === "file" && formatBytes(entry.size, "")}</td>
              <td>{entry.modified && <time dateTime={entry.modified.toISOString()}>{when.format(entry.modified)}</time>}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {more > 0 && <p className="hint">{t("more", more)}</p>}
    </div>
  );
}

/** What can be done with an entry. Where a link leads is not known, so it can be either. */
function Name({ entry, t, onOpen, onDownload }: { entry: Entry; t: TerminalTranslate; onOpen: () => void; onDownload: () => void }): ReactNode {
  const { name, kind } = entry;
  const open = <button type="button" className="shell-name" onClick={onOpen}>{name}{kind === "directory" ? "/" : " →"}</button>;
  const download = (text: string): ReactNode => <button type="button" className="shell-name" aria-label={t("download", name)} title={t("download", name)} onClick={onDownload}>{text}</button>;
  if (kind === "directory") return open;
  if (kind === "link") return <>{open} {download("↓")}</>;
  return kind === "file" ? download(name) : name;
}

function Choose({ t, onFiles }: { t: TerminalTranslate; onFiles: (files: readonly File[]) => void }): ReactNode {
  const input = useRef<HTMLInputElement>(null);
  return (
    <div className="shell-bar">
      <input ref={input} type="file" multiple hidden data-testid="upload" onChange={(event) => { onFiles([...(event.target.files ?? [])]); event.target.value = ""; }} />
      <button type="button" onClick={() => input.current?.click()}>{t("upload")}</button>
      <span className="hint">{t("dropHere")}</span>
    </div>
  );
}

/** It alone is drawn anew for each piece that has come through, and not what is in the directory. */
function TransferList({ transfers, t }: { transfers: Transfers; t: TerminalTranslate }): ReactNode {
  const all = useSyncExternalStore(transfers.subscribe, transfers.snapshot);
  if (all.length === 0) return null;
  return (
    <ul className="shell-transfers" aria-label={t("transfers")}>
      {all.map(({ id, name, way, size, moved, fate }) => (
        <li key={id}>
          <span aria-hidden="true">{way === "up" ? "↑" : "↓"}</span>
          <span className="shell-file" title={name}>{name}</span>
          {fate.state === "going"
            ? <progress aria-label={name} max={Math.max(1, size)} value={moved} />
            : <span className={fate.state === "failed" || fate.state === "exists" ? "bad" : "hint"} role="status">{told(fate, way, t)}</span>}
          {(fate.state === "going" || fate.state === "waiting") && <button type="button" aria-label={t("cancelOf", name)} onClick={() => transfers.cancel(id)}>{t("cancel")}</button>}
          {fate.state === "exists" && <button type="button" aria-label={t("replaceOf", name)} onClick={() => transfers.replace(id)}>{t("replace")}</button>}
        </li>
      ))}
    </ul>
  );
}

function told(fate: Exclude<Transfer["fate"], { state: "going" }>, way: Transfer["way"], t: TerminalTranslate): string {
  switch (fate.state) {
    case "waiting": return t("waiting");
    case "done": return t(way === "up" ? "uploaded" : "downloaded");
    case "exists": return t("exists");
    case "cancelled": return t("cancelled");
    case "failed": return sentence(fate.error, t);
  }
}
