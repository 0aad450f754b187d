// The panel with the target's files: directories, downloads and uploads.

import { type DragEvent, type FormEvent, type ReactNode, useEffect, useRef, useState } from "react";
import type { SftpClient } from "../sftp/client";
import { download, upload } from "../sftp/transfer";
import { describeError, type Entry, joinPath, listDirectory, type Listing, parentPath } from "./directory";
import { EntryTable } from "./EntryTable";
import type { TerminalTranslate } from "./messages";
import { TransferList } from "./TransferList";
import { TransferQueue } from "./transferQueue";

/** The path that SFTP resolves to the home directory. */
const HOME_DIRECTORY = ".";

interface FilesPanelProps {
  target: string;
  /** Returns the SFTP client. The first call opens its channel. */
  open: () => SftpClient;
  t: TerminalTranslate;
  hidden: boolean;
  /** Called when the user clicks the close button. If `isBusy`, a transfer waits or runs, and the panel must stay mounted. */
  onClose: (isBusy: boolean) => void;
}

export function FilesPanel({ target, open, t, hidden, onClose }: FilesPanelProps): ReactNode {
  const [path, setPath] = useState(HOME_DIRECTORY);
  const [revision, setRevision] = useState(0);
  const { listing, error } = useListing(open, path, revision, t);
  const [queue] = useState(() => new TransferQueue());
  const [isDragOver, setDragOver] = useState(false);
  const directory = listing?.path ?? path;
  const uploadFiles = (files: readonly File[]): void => {
    for (const file of files) {
      queue.add("up", file.name, file.size, async ({ overwrite, ...options }) => {
        await upload(open(), file, joinPath(directory, file.name), overwrite, options);
        setRevision((before) => before + 1);
      });
    }
  };
  const downloadFile = ({ name, size }: Entry): void =>
    queue.add("down", name, size ?? 0, async (options) => saveAs(await download(open(), joinPath(directory, name), options), name));
  const onDrop = (event: DragEvent): void => {
    event.preventDefault();
    setDragOver(false);
    uploadFiles(droppedFiles(event.dataTransfer));
  };
  return (
    <section
      className={isDragOver ? "shell-files over" : "shell-files"}
      aria-label={t("filesOf", target)}
      hidden={hidden}
      onDragOver={(event) => { event.preventDefault(); setDragOver(true); }}
      onDragLeave={() => setDragOver(false)}
      onDrop={onDrop}
    >
      <div className="shell-bar">
        <h2>{t("filesOf", target)}</h2>
        <span className="fill" />
        <button type="button" aria-label={t("close")} title={t("close")} onClick={() => onClose(queue.isBusy())}>×</button>
      </div>
      <PathForm key={directory} path={directory} t={t} onGo={setPath} onRefresh={() => setRevision(revision + 1)} />
      {error && <p className="bad" role="alert">{error}</p>}
      {!listing && !error && <p className="hint">{t("loading")}</p>}
      {listing && <EntryTable listing={listing} t={t} onGo={setPath} onDownload={downloadFile} />}
      <UploadButton t={t} onFiles={uploadFiles} />
      <TransferList queue={queue} t={t} />
    </section>
  );
}

/** Makes the browser save a blob as a file. */
function saveAs(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // By then the browser has started the download.
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Returns the dropped files without directories, which cannot be read as files. */
function droppedFiles(data: DataTransfer): File[] {
  const items = [...data.items].filter((item) => item.kind === "file" && !item.webkitGetAsEntry()?.isDirectory);
  return items.map((item) => item.getAsFile()).filter((file) => file !== null);
}

/** Lists a directory. Lists it again whenever the path or the revision changes. */
function useListing(open: () => SftpClient, path: string, revision: number, t: TerminalTranslate): { listing: Listing | null; error: string } {
  const [listing, setListing] = useState<Listing | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    let isStale = false;
    listDirectory(open(), path).then(
      (listing) => {
        if (isStale) return;
        setError(listing ? "" : t("isFile", path));
        if (listing) setListing(listing);
      },
      (error: unknown) => {
        if (!isStale) setError(describeError(error, t));
      },
    );
    return () => {
      isStale = true;
    };
    // `open` always returns the same client, and another language needs no new request.
  }, [path, revision]);
  return { listing, error };
}

function PathForm({ path, t, onGo, onRefresh }: { path: string; t: TerminalTranslate; onGo: (path: string) => void; onRefresh: () => void }): ReactNode {
  const [text, setText] = useState(path);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    onGo(text);
  };
  return (
    <form className="shell-bar" onSubmit={submit}>
      <button type="button" aria-label={t("up")} title={t("up")} onClick={() => onGo(parentPath(path))}>↑</button>
      <input aria-label={t("path")} value={text} onChange={(event) => setText(event.target.value)} spellCheck={false} />
      <button type="submit">{t("open")}</button>
      <button type="button" aria-label={t("refresh")} title={t("refresh")} onClick={onRefresh}>⟳</button>
    </form>
  );
}

function UploadButton({ t, onFiles }: { t: TerminalTranslate; onFiles: (files: readonly File[]) => void }): ReactNode {
  const input = useRef<HTMLInputElement>(null);
  return (
    <div className="shell-bar">
      <input ref={input} type="file" multiple hidden data-testid="upload" onChange={(event) => { onFiles([...(event.target.files ?? [])]); event.target.value = ""; }} />
      <button type="button" onClick={() => input.current?.click()}>{t("upload")}</button>
      <span className="hint">{t("dropHere")}</span>
    </div>
  );
}
