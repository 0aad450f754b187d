// Above what goes on where a sign-in is over: signing in again takes nothing away.

import { type ReactNode, useEffect, useRef } from "react";
import { useSay } from "../words";
import { SignInWays } from "./SignIn";

export function SignInAgain({ user, onIn }: { user: string; onIn: () => void }): ReactNode {
  const say = useSay();
  const dialog = useRef<HTMLDialogElement>(null);
  // They may come from another tab, where they have signed in.
  useEffect(() => {
    window.addEventListener("focus", onIn);
    return () => window.removeEventListener("focus", onIn);
  }, [onIn]);
  return (
    <div className="again">
      <span role="alert">{say("signInOverHere", user)}</span>
      <button type="button" className="main" aria-haspopup="dialog" onClick={() => dialog.current?.showModal()}>{say("signInAgain")}</button>
      <dialog ref={dialog} aria-labelledby="again-title">
        <div className="card">
          <h2 id="again-title">{say("signIn")}</h2>
          <SignInWays onIn={onIn} apart />
          <form method="dialog" className="buttons"><button type="submit">{say("close")}</button></form>
        </div>
      </dialog>
    </div>
  );
}
