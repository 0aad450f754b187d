// The frame of the page: who is signed in, where they can go, in which language and colours.

import { lazy, type ReactNode, Suspense, useEffect, useState } from "react";
import { type Me, me as askWhoIAm, Refused, signOut } from "./api";
import { History } from "./History";
import { Link } from "./Link";
import { SessionDetail } from "./SessionDetail";
import { Sessions } from "./Sessions";
import { SignIn } from "./SignIn";
import { Targets } from "./Targets";
import { usePath } from "./url";
import { type Language, Speech, speak, useSay } from "./words";

const Terminal = lazy(() => import("./terminal"));

type Who = { state: "asking" } | { state: "nobody" } | { state: "in"; me: Me } | { state: "failed"; error: string };

function usualLanguage(): Language {
  const kept = localStorage.getItem("language");
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function App(): ReactNode {
  const [language, setLanguage] = useState(usualLanguage);
  const [who, setWho] = useState<Who>({ state: "asking" });
  const ask = (): void => {
    askWhoIAm().then(
      (me) => setWho({ state: "in", me }),
      (error: unknown) => {
        const nobody = error instanceof Refused && (error.status === 401 || error.status === 501);
        setWho(nobody ? { state: "nobody" } : { state: "failed", error: String(error instanceof Error ? error.message : error) });
      },
    );
  };
  useEffect(ask, []);
  useEffect(() => {
    if (who.state !== "failed") return;
    const again = window.setTimeout(ask, 2000);
    return () => window.clearTimeout(again);
  }, [who]);
  useEffect(() => {
    localStorage.setItem("language", language);
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
    document.title = speak(language)("title");
  }, [language]);

  const other = language === "en" ? "zh" : "en";
  return (
    <Speech.Provider value={speak(language)}>
      <Top who={who} onLanguage={() => setLanguage(other)} onOut={() => void signOut().finally(ask)} />
      <Body who={who} onIn={ask} onOut={() => setWho({ state: "nobody" })} />
    </Speech.Provider>
  );
}

function Top({ who, onLanguage, onOut }: { who: Who; onLanguage: () => void; onOut: () => void }): ReactNode {
  const say = useSay();
  return (
    <header className="top">
      <span className="brand">
        <img src="/favicon.svg" alt="" width="22" height="22" /> {say("title")}
      </span>
      {who.state === "in" && (
        <nav>
          <Link to="/">{say("online")}</Link>
          <Link to="/history">{say("history")}</Link>
          <Link to="/targets">{say("targets")}</Link>
        </nav>
      )}
      <span className="fill" />
      {who.state === "in" && (
        <>
          <span className="who" title={who.me.groups.join("\n")}>{say("signedInAs", who.me.user)}</span>
          <button type="button" className="quiet" onClick={onOut}>{say("signOut")}</button>
        </>
      )}
      <button type="button" className="quiet" onClick={onLanguage} lang={say.language === "en" ? "zh-CN" : "en"}>{say("language")}</button>
      <Theme />
    </header>
  );
}

function Theme(): ReactNode {
  const say = useSay();
  const [theme, setTheme] = useState(() => localStorage.getItem("theme") ?? "");
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return (
    <button type="button" className="quiet" aria-label={say("theme")} title={say("theme")} onClick={() => setTheme(dark ? "light" : "dark")}>
      {dark ? "☾" : "☀"}
    </button>
  );
}

function Body({ who, onIn, onOut }: { who: Who; onIn: () => void; onOut: () => void }): ReactNode {
  const say = useSay();
  const path = usePath();
  if (who.state === "asking") return <main className="state"><p>{say("loading")}</p></main>;
  if (who.state === "failed") return <main className="state"><p role="alert">{who.error}</p></main>;
  if (who.state === "nobody") return <SignIn onIn={onIn} />;
  if (path === "/history") return <History me={who.me} />;
  const name = /^\/sessions\/([^/]+)$/.exec(path)?.[1];
  if (name) return <SessionDetail name={decodeURIComponent(name)} />;
  const target = /^\/terminal\/([^/]+)$/.exec(path)?.[1];
  if (target) {
    const login = new URLSearchParams(location.search).get("login");
    return <Suspense fallback={<main />}><Terminal target={decodeURIComponent(target)} login={login} me={who.me} /></Suspense>;
  }
  if (path === "/targets") return <Targets me={who.me} />;
  return <Sessions me={who.me} onOut={onOut} />;
}
