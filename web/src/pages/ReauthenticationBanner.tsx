// The banner above a page that keeps running after the sign-in has expired, with a dialog to sign in again.

import { type ReactNode, useEffect, useRef } from "react";
import { useTranslation } from "../i18n";
import { SignInForms } from "./SignInPage";

export function ReauthenticationBanner({ user, onSignedIn }: { user: string; onSignedIn: () => void }): ReactNode {
  const t = useTranslation();
  const dialog = useRef<HTMLDialogElement>(null);
  // The user may have signed in in another tab.
  useEffect(() => {
    window.addEventListener("focus", onSignedIn);
    return () => window.removeEventListener("focus", onSignedIn);
  }, [onSignedIn]);
  return (
    <div className="reauth">
      <span role="alert">{t("signInOverHere", user)}</span>
      <button type="button" className="main" aria-haspopup="dialog" onClick={() => dialog.current?.showModal()}>{t("signInAgain")}</button>
      <dialog ref={dialog} aria-labelledby="reauth-title">
        <div className="card">
          <h2 id="reauth-title">{t("signIn")}</h2>
          <SignInForms onSignedIn={onSignedIn} inNewTab />
          <form method="dialog" className="buttons"><button type="submit">{t("close")}</button></form>
        </div>
      </dialog>
    </div>
  );
}
