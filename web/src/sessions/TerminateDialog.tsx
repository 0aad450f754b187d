// The dialog that terminates sessions: asks for a reason, and shows the outcome for each session.

import { type FormEvent, type ReactNode, useEffect, useRef, useState } from "react";
import type { Session } from "../api/types";
import type { FeedState } from "../feed/feedState";
import { formatLocalTime } from "../format";
import { useTranslation } from "../i18n";
import { terminateAll, type TerminationOutcome } from "./termination";

interface TerminateDialogProps {
  sessions: readonly Session[];
  feedState: FeedState;
  onClose: () => void;
}

export function TerminateDialog({ sessions, feedState, onClose }: TerminateDialogProps): ReactNode {
  const t = useTranslation();
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("");
  const [outcomes, setOutcomes] = useState<ReadonlyMap<string, TerminationOutcome>>(new Map());
  const [isSubmitted, setSubmitted] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);
  // Sessions that end while the dialog is open need no termination.
  const remaining = sessions.filter((session) => feedState.sessions.has(session.session_id));
  const ended = sessions.length - remaining.length;

  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setSubmitted(true);
    void terminateAll(remaining.map((it) => it.name), reason.trim(), (name, outcome) => setOutcomes((before) => new Map(before).set(name, outcome)));
  };
  const title = sessions.length === 1 ? t("terminateOne") : t("terminateTitle", sessions.length);
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="terminate-title" className="terminate">
      <form onSubmit={submit}>
        <h2 id="terminate-title">{isSubmitted ? t("endedMany", ended, sessions.length) : title}</h2>
        {isSubmitted ? <progress max={sessions.length} value={ended} aria-labelledby="terminate-title" /> : <p className="hint">{t("terminateWarns")}</p>}
        <ul className="terminating" tabIndex={0}>
          {sessions.map((session) => (
            <li key={session.session_id} data-terminating={session.name}>
              <span><strong>{session.user}</strong> → {session.login}@{session.target}</span>
              <small title={session.name}>{session.client_address} · {formatLocalTime(session.start_time)}</small>
              <OutcomeText isOnline={feedState.sessions.has(session.session_id)} isSubmitted={isSubmitted} outcome={outcomes.get(session.name)} />
            </li>
          ))}
        </ul>
        {!isSubmitted && (
          <label>
            {t("terminationReason")}
            <input maxLength={512} autoFocus value={reason} onChange={(event) => setReason(event.target.value)} />
          </label>
        )}
        <div className="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>{isSubmitted ? t("close") : t("cancel")}</button>
          {!isSubmitted && (
            <button type="submit" className="danger" disabled={remaining.length === 0}>
              {remaining.length === 1 ? t("confirmOne") : t("confirm", remaining.length)}
            </button>
          )}
        </div>
      </form>
    </dialog>
  );
}

/** The outcome for one session. The session has ended once the feed no longer lists it. */
function OutcomeText({ isOnline, isSubmitted, outcome }: { isOnline: boolean; isSubmitted: boolean; outcome: TerminationOutcome | undefined }): ReactNode {
  const t = useTranslation();
  if (!isOnline) return <span className="outcome done">{t("endedOne")}</span>;
  if (!isSubmitted) return <span className="outcome" />;
  if (outcome?.state === "failed") return <span className="outcome bad">{t("notEnded", outcome.error)}</span>;
  if (outcome?.state === "alreadyEnded") return <span className="outcome done">{t("alreadyEnded")}</span>;
  return <span className="outcome">{t("ending")}</span>;
}
