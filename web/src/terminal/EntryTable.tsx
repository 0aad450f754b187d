// The table of a directory's entries.

import type { ReactNode } from "react";
import { formatBytes } from "../format";
import { type Entry, joinPath, type Listing } from "./directory";
import type { TerminalTranslate } from "./messages";

/** The most entries that are shown. */
const MAX_ENTRIES = 2000;

interface EntryTableProps {
  listing: Listing;
  t: TerminalTranslate;
  onGo: (path: string) => void;
  onDownload: (entry: Entry) => void;
}

export function EntryTable({ listing, t, onGo, onDownload }: EntryTableProps): ReactNode {
  const dateFormat = new Intl.DateTimeFormat(t.language === "zh" ? "zh-CN" : "en-GB", { dateStyle: "short", timeStyle: "short" });
  if (listing.entries.length === 0) return <p className="hint">{t("empty")}</p>;
  const hiddenCount = listing.entries.length - MAX_ENTRIES;
  return (
    <div className="shell-entries" tabIndex={0} role="group" aria-label={listing.path}>
      <table>
        <thead><tr><th scope="col">{t("name")}</th><th scope="col" className="number">{t("size")}</th><th scope="col">{t("modified")}</th></tr></thead>
        <tbody>
          {listing.entries.slice(0, MAX_ENTRIES).map((entry) => (
            <tr key={entry.name}>
              <td><EntryName entry={entry} t={t} onOpen={() => onGo(joinPath(listing.path, entry.name))} onDownload={() => onDownload(entry)} /></td>
              <td className="number">{entry.kind === "file" && formatBytes(entry.size, "")}</td>
              <td>{entry.modified && <time dateTime={entry.modified.toISOString()}>{dateFormat.format(entry.modified)}</time>}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {hiddenCount > 0 && <p className="hint">{t("more", hiddenCount)}</p>}
    </div>
  );
}

/** The name of an entry with its actions. A link has the actions of files and of directories, because it may lead to either. */
function EntryName({ entry, t, onOpen, onDownload }: { entry: Entry; t: TerminalTranslate; onOpen: () => void; onDownload: () => void }): ReactNode {
  const { name, kind } = entry;
  const open = <button type="button" className="shell-name" onClick={onOpen}>{name}{kind === "directory" ? "/" : " →"}</button>;
  const download = (text: string): ReactNode => <button type="button" className="shell-name" aria-label={t("download", name)} title={t("download", name)} onClick={onDownload}>{text}</button>;
  if (kind === "directory") return open;
  if (kind === "link") return <>{open} {download("↓")}</>;
  return kind === "file" ? download(name) : name;
}
