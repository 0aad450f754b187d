// The sign-in page: OpenID Connect if it is configured, or a Kubernetes token, which the console exchanges for a cookie.

import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import { fetchSignInMethods, signIn, toErrorMessage } from "../api/client";
import type { SignInMethods } from "../api/types";
import { LanguageButton, ThemeButton } from "../components/Sidebar";
import { type MessageKey, useTranslation } from "../i18n";
import { navigate } from "../router";

/** Messages for the console's `sign_in` codes after a failed OpenID Connect sign-in. */
const FAILURE_MESSAGES: Record<string, MessageKey> = { provider: "oidcProvider", denied: "oidcDenied", late: "oidcLate", claims: "oidcClaims" };

/** Returns the message of a failed sign-in, and removes its code from the address so that a reload does not repeat it. */
function useSignInFailure(): MessageKey | null {
  const [code] = useState(() => new URLSearchParams(location.search).get("sign_in"));
  useEffect(() => {
    const params = new URLSearchParams(location.search);
    if (!params.has("sign_in")) return;
    params.delete("sign_in");
    navigate(location.pathname + (params.size > 0 ? `?${params}` : ""), true);
  }, []);
  return code === null ? null : (FAILURE_MESSAGES[code] ?? "oidcProvider");
}

interface SignInPageProps {
  /** Whether the user was signed in before. */
  expired: boolean;
  /** Whether the user signed out, but copies of the cookie stay valid. */
  incomplete: boolean;
  onSignedIn: () => void;
  onSwitchLanguage: () => void;
}

export function SignInPage({ expired, incomplete, onSignedIn, onSwitchLanguage }: SignInPageProps): ReactNode {
  const t = useTranslation();
  useEffect(() => {
    document.title = t("title");
  }, [t]);
  const failure = useSignInFailure();
  return (
    <main className="sign-in-page">
      <div className="sign-in-banner">
        <span className="brand"><img src="/favicon.svg" alt="" width="34" height="34" /> <span>{t("title")}</span></span>
        <p>{t("signInLead")}</p>
        <Battlement />
      </div>
      <div className="sign-in-panel">
        <div className="tools"><LanguageButton onSwitchLanguage={onSwitchLanguage} /><ThemeButton /></div>
        <section className="card">
          <h1>{t("signIn")}</h1>
          {expired && <p className="notice" role="alert">{t("signInOver")}</p>}
          {incomplete && <p className="notice bad" role="alert">{t("signOutIncomplete")}</p>}
          {failure && <p className="notice bad" role="alert">{t(failure)}</p>}
          <SignInForms onSignedIn={onSignedIn} />
        </section>
      </div>
    </main>
  );
}

/** The forms of the available sign-in methods. `inNewTab` opens the provider's page in a new tab, so that this page stays. */
export function SignInForms({ onSignedIn, inNewTab = false }: { onSignedIn: () => void; inNewTab?: boolean }): ReactNode {
  const t = useTranslation();
  const [methods, setMethods] = useState<SignInMethods | null>(null);
  useEffect(() => {
    fetchSignInMethods().then(setMethods, () => setMethods({ token: true }));
  }, []);
  if (!methods) return null;
  const returnTo = inNewTab ? "/" : location.pathname + location.search;
  return (
    <>
      {methods.oidc && <a className="button main" href={`/auth/oidc?return=${encodeURIComponent(returnTo)}`} target={inNewTab ? "_blank" : undefined} rel="noopener">{t("signInWith", methods.oidc.name)}</a>}
      {methods.oidc && methods.token && <p className="or">{t("or")}</p>}
      {methods.token && <TokenForm onSignedIn={onSignedIn} isPrimary={!methods.oidc} />}
      {!methods.token && !methods.oidc && <p role="alert">{t("noSignIn")}</p>}
    </>
  );
}

function TokenForm({ onSignedIn, isPrimary }: { onSignedIn: () => void; isPrimary: boolean }): ReactNode {
  const t = useTranslation();
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setBusy(true);
    setError("");
    signIn(token.trim())
      .then(onSignedIn, (failure: unknown) => setError(toErrorMessage(failure)))
      .finally(() => setBusy(false));
  };
  return (
    <form onSubmit={submit}>
      <label>
        {t("tokenLabel")}
        <input type="password" autoComplete="off" autoFocus={isPrimary} required value={token} onChange={(event) => setToken(event.target.value)} />
      </label>
      <p className="hint">{t("tokenHint")}<code>kubectl create token NAME</code></p>
      {error && <p className="bad" role="alert">{error}</p>}
      <button type="submit" className={isPrimary ? "main" : ""} disabled={busy || !token.trim()}>{t("signIn")}</button>
    </form>
  );
}

/** The drawing of a battlement. */
function Battlement(): ReactNode {
  return (
    <svg className="battlement" viewBox="0 0 480 160" preserveAspectRatio="xMidYMax slice" aria-hidden="true">
      <path d="M0 160V70h40v24h40V70h40v24h40V70h40v24h40V70h40v24h40V70h40v24h40V70h40v24h40v66z" />
      <path className="near" d="M-20 160v-46h40v22h40v-22h40v22h40v-22h40v22h40v-22h40v22h40v-22h40v22h40v-22h40v22h40v-22h40v46z" />
    </svg>
  );
}
