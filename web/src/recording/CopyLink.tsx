// The button that copies a link to the current position of a recording.

import { type ReactNode, useEffect, useRef, useState } from "react";
import { Icon } from "../components/Icon";
import { recordingPagePath } from "../routes";
import type { RecordingTranslate } from "./messages";
import type { Recording } from "./recordingApi";

const COPIED_NOTICE_MS = 3000;

interface CopyLinkProps {
  session: string;
  recording: Recording;
  at: number;
  t: RecordingTranslate;
}

/** The button. It copies a link to the current position, or shows the link if there is no clipboard, as without HTTPS. */
export function CopyLink({ session, recording, at, t }: CopyLinkProps): ReactNode {
  const [copied, setCopied] = useState(false);
  const [shown, setShown] = useState<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (!copied) return;
    const timer = window.setTimeout(() => setCopied(false), COPIED_NOTICE_MS);
    return () => window.clearTimeout(timer);
  }, [copied]);
  useEffect(() => field.current?.select(), [shown]);
  const copy = async (): Promise<void> => {
    const link = recordingLink(session, recording.number, at);
    try {
      await navigator.clipboard.writeText(link);
      setShown(null);
      setCopied(true);
    } catch {
      setShown(link);
    }
  };
  return (
    <>
      {shown && <input ref={field} className="player-link" readOnly aria-label={t("linkLabel")} value={shown} />}
      <span className="hint" role="status">{copied && t("copied")}</span>
      <button type="button" onClick={() => void copy()}><Icon name="link" size={16} /> {t("copyLink")}</button>
    </>
  );
}

function recordingLink(session: string, number: number, at: number): string {
  const id = new URLSearchParams(location.search).get("id");
  return location.origin + recordingPagePath(session, { number: String(number), at: String(Math.floor(at)), ...(id && { id }) });
}
