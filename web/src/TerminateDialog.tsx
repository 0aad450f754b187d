// Asks what to end and why, and says what became of each.

import { type FormEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { Refused, type Session, terminate } from "./api";
import { useSay } from "./words";

/** How many are asked for at a time. */
const AT_A_TIME = 4;

type Outcome = "asked" | "gone" | { failed: string };

export function TerminateDialog({ sessions, online, onClose }: { sessions: readonly Session[]; online: ReadonlyMap<string, Session>; onClose: () => void }): ReactNode {
  const say = useSay();
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("");
  const [outcomes, setOutcomes] = useState<ReadonlyMap<string, Outcome>>(new Map());
  const [begun, setBegun] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);

  const one = async (session: Session): Promise<void> => {
    const note = (outcome: Outcome): void => setOutcomes((before) => new Map(before).set(session.session_id, outcome));
    try {
      await terminate(session.name, reason.trim());
      note("asked");
    } catch (error) {
      const gone = error instanceof Refused && (error.status === 404 || error.status === 409);
      note(gone ? "gone" : { failed: error instanceof Error ? error.message : String(error) });
    }
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setBegun(true);
    const waiting = [...sessions];
    const worker = async (): Promise<void> => {
      for (let session = waiting.shift(); session; session = waiting.shift()) await one(session);
    };
    void Promise.all(Array.from({ length: AT_A_TIME }, worker));
  };
  const state = (session: Session): string => {
    if (!online.has(session.session_id)) return say("gone");
    const outcome = outcomes.get(session.session_id);
    if (!outcome) return begun ? say("ending") : "";
    if (outcome === "gone") return say("gone");
    return outcome === "asked" ? say("ending") : say("notAsked", outcome.failed);
  };
  const title = sessions.length === 1 ? say("terminateOne") : say("terminateTitle", sessions.length);
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="terminate-title">
      <form onSubmit={submit}>
        <h2 id="terminate-title">{title}</h2>
        <ul className="doomed">
          {sessions.map((session) => (
            <li key={session.session_id}>
              <strong>{session.user}</strong> → {session.login}@{session.target} <span className="hint">{session.client_address}</span>
              <span className="outcome" aria-live="polite">{state(session)}</span>
            </li>
          ))}
        </ul>
        {!begun && (
          <label>
            {say("why")}
            <input maxLength={512} autoFocus value={reason} onChange={(event) => setReason(event.target.value)} />
          </label>
        )}
        <div className="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>{begun ? say("close") : say("cancel")}</button>
          {!begun && <button type="submit" className="danger">{say("confirm")}</button>}
        </div>
      </form>
    </dialog>
  );
}
