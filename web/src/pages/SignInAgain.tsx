// Above what goes on where a sign-in is over: signing in again takes nothing away.

import { type ReactNode, useEffect, useRef } from "react";
import { useTranslation } from "../i18n";
import { SignInWays } from "./SignIn";

export function SignInAgain({ user, onIn }: { user: string; onIn: () => void }): ReactNode {
  const t = useTranslation();
  const dialog = useRef<HTMLDialogElement>(null);
  // They may come from another tab, where they have signed in.
  useEffect(() => {
    window.addEventListener("focus", onIn);
    return () => window.removeEventListener("focus", onIn);
  }, [onIn]);
  return (
    <div className="again">
      <span role="alert">{t("signInOverHere", user)}</span>
      <button type="button" className="main" aria-haspopup="dialog" onClick={() => dialog.current?.showModal()}>{t("signInAgain")}</button>
      <dialog ref={dialog} aria-labelledby="again-title">
        <div className="card">
          <h2 id="again-title">{t("signIn")}</h2>
          <SignInWays onIn={onIn} apart />
          <form method="dialog" className="buttons"><button type="submit">{t("close")}</button></form>
        </div>
      </dialog>
    </div>
  );
}
