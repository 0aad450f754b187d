// Asks what to end and why, and says what became of each.

import { type FormEvent, type ReactNode, useEffect, useRef, useState } from "react";
import type { Session } from "../api/types";
import { formatLocalTime } from "../format";
import type { Online } from "../live/feed";
import { useTranslation } from "../i18n";
import { endAll, type Outcome } from "./termination";

export function TerminateDialog({ sessions, online, onClose }: { sessions: readonly Session[]; online: Online; onClose: () => void }): ReactNode {
  const t = useTranslation();
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("");
  const [outcomes, setOutcomes] = useState<ReadonlyMap<string, Outcome>>(new Map());
  const [begun, setBegun] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);
  // What was gone before the question was answered is not asked for.
  const left = sessions.filter((session) => online.sessions.has(session.session_id));
  const ended = sessions.length - left.length;

  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setBegun(true);
    void endAll(left.map((it) => it.name), reason.trim(), (name, outcome) => setOutcomes((before) => new Map(before).set(name, outcome)));
  };
  const title = sessions.length === 1 ? t("terminateOne") : t("terminateTitle", sessions.length);
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="terminate-title" className="terminate">
      <form onSubmit={submit}>
        <h2 id="terminate-title">{begun ? t("endedMany", ended, sessions.length) : title}</h2>
        {begun ? <progress max={sessions.length} value={ended} aria-labelledby="terminate-title" /> : <p className="hint">{t("terminateWarns")}</p>}
        <ul className="doomed" tabIndex={0}>
          {sessions.map((session) => (
            <li key={session.session_id} data-doomed={session.name}>
              <span><strong>{session.user}</strong> → {session.login}@{session.target}</span>
              <small title={session.name}>{session.client_address} · {formatLocalTime(session.start_time)}</small>
              <State here={online.sessions.has(session.session_id)} begun={begun} outcome={outcomes.get(session.name)} />
            </li>
          ))}
        </ul>
        {!begun && (
          <label>
            {t("why")}
            <input maxLength={512} autoFocus value={reason} onChange={(event) => setReason(event.target.value)} />
          </label>
        )}
        <div className="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>{begun ? t("close") : t("cancel")}</button>
          {!begun && (
            <button type="submit" className="danger" disabled={left.length === 0}>
              {left.length === 1 ? t("confirmOne") : t("confirm", left.length)}
            </button>
          )}
        </div>
      </form>
    </dialog>
  );
}

/** Ended is what the live list no longer has; what was asked for is on its way. */
function State({ here, begun, outcome }: { here: boolean; begun: boolean; outcome: Outcome | undefined }): ReactNode {
  const t = useTranslation();
  if (!here) return <span className="outcome done">{t("endedOne")}</span>;
  if (!begun) return <span className="outcome" />;
  if (outcome?.state === "failed") return <span className="outcome bad">{t("notEnded", outcome.error)}</span>;
  if (outcome?.state === "gone") return <span className="outcome done">{t("alreadyEnded")}</span>;
  return <span className="outcome">{t("ending")}</span>;
}
