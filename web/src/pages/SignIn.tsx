// Signing in: with the provider of the house where there is one, or with a token, which the console exchanges for a cookie.

import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import { errorMessage, signIn, fetchSignInMethods } from "../api/client";
import type { SignInMethods } from "../api/types";
import { LanguageButton, ThemeButton } from "../components/Sidebar";
import { navigate } from "../router";
import { useTranslation, type MessageKey } from "../i18n";

/** What the console says of a provider's sign-in that has come to nothing. */
const FAILURES: Record<string, MessageKey> = { provider: "oidcProvider", denied: "oidcDenied", late: "oidcLate", claims: "oidcClaims" };

/** Takes the word for it out of the address, where the console has put it: what is said once is not said again. */
function useFailure(): MessageKey | null {
  const [word] = useState(() => new URLSearchParams(location.search).get("sign_in"));
  useEffect(() => {
    const params = new URLSearchParams(location.search);
    if (!params.has("sign_in")) return;
    params.delete("sign_in");
    navigate(location.pathname + (params.size > 0 ? `?${params}` : ""), true);
  }, []);
  return word === null ? null : (FAILURES[word] ?? "oidcProvider");
}

export function SignIn({ over, onIn, onSwitchLanguage }: { over: boolean; onIn: () => void; onSwitchLanguage: () => void }): ReactNode {
  const t = useTranslation();
  useEffect(() => {
    document.title = t("title");
  }, [t]);
  const failure = useFailure();
  return (
    <main className="door">
      <div className="wall">
        <span className="brand"><img src="/favicon.svg" alt="" width="34" height="34" /> <span>{t("title")}</span></span>
        <p>{t("signInLead")}</p>
        <Merlons />
      </div>
      <div className="gate">
        <div className="tools"><LanguageButton onSwitchLanguage={onSwitchLanguage} /><ThemeButton /></div>
        <section className="card">
          <h1>{t("signIn")}</h1>
          {over && <p className="notice" role="alert">{t("signInOver")}</p>}
          {failure && <p className="notice bad" role="alert">{t(failure)}</p>}
          <SignInWays onIn={onIn} />
        </section>
      </div>
    </main>
  );
}

/** The ways to sign in; `apart` has the provider's open in another tab, since this page must stay. */
export function SignInWays({ onIn, apart = false }: { onIn: () => void; apart?: boolean }): ReactNode {
  const t = useTranslation();
  const [ways, setWays] = useState<SignInMethods | null>(null);
  useEffect(() => {
    fetchSignInMethods().then(setWays, () => setWays({ token: true }));
  }, []);
  if (!ways) return null;
  const back = apart ? "/" : location.pathname + location.search;
  return (
    <>
      {ways.oidc && <a className="button main" href={`/auth/oidc?return=${encodeURIComponent(back)}`} target={apart ? "_blank" : undefined} rel="noopener">{t("signInWith", ways.oidc.name)}</a>}
      {ways.oidc && ways.token && <p className="or">{t("or")}</p>}
      {ways.token && <TokenForm onIn={onIn} main={!ways.oidc} />}
      {!ways.token && !ways.oidc && <p role="alert">{t("noSignIn")}</p>}
    </>
  );
}

function TokenForm({ onIn, main }: { onIn: () => void; main: boolean }): ReactNode {
  const t = useTranslation();
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setBusy(true);
    setError("");
    signIn(token.trim())
      .then(onIn, (failure: unknown) => setError(errorMessage(failure)))
      .finally(() => setBusy(false));
  };
  return (
    <form onSubmit={submit}>
      <label>
        {t("tokenLabel")}
        <input type="password" autoComplete="off" autoFocus={main} required value={token} onChange={(event) => setToken(event.target.value)} />
      </label>
      <p className="hint">{t("tokenHint")}<code>kubectl create token NAME</code></p>
      {error && <p className="bad" role="alert">{error}</p>}
      <button type="submit" className={main ? "main" : ""} disabled={busy || !token.trim()}>{t("signIn")}</button>
    </form>
  );
}

/** The wall's top. */
function Merlons(): ReactNode {
  return (
    <svg className="merlons" viewBox="0 0 480 160" preserveAspectRatio="xMidYMax slice" aria-hidden="true">
      <path d="M0 160V70h40v24h40V70h40v24h40V70h40v24h40V70h40v24h40V70h40v24h40V70h40v24h40v66z" />
      <path className="near" d="M-20 160v-46h40v22h40v-22h40v22h40v-22h40v22h40v-22h40v22h40v-22h40v22h40v-22h40v22h40v-22h40v46z" />
    </svg>
  );
}
