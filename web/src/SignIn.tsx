// Signing in with a token, which the console exchanges for a cookie.

import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import { signIn, ways } from "./api";
import { useSay } from "./words";

export function SignIn({ onIn }: { onIn: () => void }): ReactNode {
  const say = useSay();
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const [possible, setPossible] = useState(true);
  useEffect(() => {
    ways().then((found) => setPossible(found.token), () => undefined);
  }, []);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setBusy(true);
    setError("");
    signIn(token.trim())
      .then(onIn, (failure: Error) => setError(failure.message))
      .finally(() => setBusy(false));
  };
  if (!possible) return <main className="state"><p role="alert">{say("noSignIn")}</p></main>;
  return (
    <main className="state">
      <form className="card" onSubmit={submit}>
        <h1>{say("signIn")}</h1>
        <label>
          {say("tokenLabel")}
          <input type="password" autoComplete="off" autoFocus required value={token} onChange={(event) => setToken(event.target.value)} />
        </label>
        <p className="hint">{say("tokenHint")}</p>
        {error && <p className="bad" role="alert">{error}</p>}
        <button type="submit" className="main" disabled={busy || !token.trim()}>{say("signIn")}</button>
      </form>
    </main>
  );
}
