// The frame of the page: who is signed in, where they can go, in which language and colours.

import { lazy, type ReactNode, Suspense, useCallback, useEffect, useState } from "react";
import { type Me, me as askWhoIAm, Refused, sentence, signOut } from "./api";
import { Rail } from "./Rail";
import { Feed } from "./live/connection";
import { Live, useOnline, useRefusal } from "./live/live";
import { History } from "./pages/History";
import { Overview } from "./pages/Overview";
import { SessionDetail } from "./pages/SessionDetail";
import { SignIn } from "./pages/SignIn";
import { Targets } from "./pages/Targets";
import { TerminalPage } from "./pages/TerminalPage";
import { Sessions } from "./sessions/Sessions";
import { segments, useParams, usePath } from "./url";
import { type Language, type Say, Speech, speak, useSay } from "./words";

type Who = { state: "asking" } | { state: "nobody" } | { state: "in"; me: Me } | { state: "failed"; error: string };

/** The player is a part of its own and comes only to who plays something. */
const Recording = lazy(() => import("./recording"));

/** From one try to the next, where the console does not answer. */
const AGAIN = 2000;

function usualLanguage(): Language {
  const kept = localStorage.getItem("language");
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** The words of this person's language, and how to change it. */
function useLanguage(): [Say, () => void] {
  const [language, setLanguage] = useState(usualLanguage);
  useEffect(() => {
    localStorage.setItem("language", language);
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  }, [language]);
  return [speak(language), () => setLanguage(language === "en" ? "zh" : "en")];
}

export function App(): ReactNode {
  const [say, changeLanguage] = useLanguage();
  const [who, setWho] = useState<Who>({ state: "asking" });
  const ask = useCallback((): void => {
    askWhoIAm().then(
      (me) => setWho({ state: "in", me }),
      (error: unknown) => {
        const nobody = error instanceof Refused && (error.status === 401 || error.status === 501);
        setWho(nobody ? { state: "nobody" } : { state: "failed", error: sentence(error) });
      },
    );
  }, []);
  useEffect(ask, [ask]);
  useEffect(() => {
    if (who.state !== "failed") return;
    const again = window.setTimeout(ask, AGAIN);
    return () => window.clearTimeout(again);
  }, [who, ask]);
  return (
    <Speech.Provider value={say}>
      {who.state === "in" ? (
        <SignedIn me={who.me} onLanguage={changeLanguage} onOut={() => void signOut().finally(ask)} recheck={ask} />
      ) : who.state === "nobody" ? (
        <SignIn onIn={ask} onLanguage={changeLanguage} />
      ) : (
        <main className="alone">{who.state === "failed" && <p role="alert">{say("unreachable", who.error)}</p>}</main>
      )}
    </Speech.Provider>
  );
}

interface SignedInProps {
  me: Me;
  onLanguage: () => void;
  onOut: () => void;
  /** Asks anew who this is: they may have been signed out. */
  recheck: () => void;
}

function SignedIn({ me, onLanguage, onOut, recheck }: SignedInProps): ReactNode {
  const [feed] = useState(() => new Feed());
  useEffect(() => {
    feed.open();
    return () => feed.close();
  }, [feed]);
  return (
    <Live.Provider value={feed}>
      <Watchman recheck={recheck} />
      <div className="frame">
        <Rail me={me} onLanguage={onLanguage} onOut={onOut} />
        <Body me={me} />
      </div>
    </Live.Provider>
  );
}

/** Has the tab say how many are online, and sees to who is signed in where the feed was refused. */
function Watchman({ recheck }: { recheck: () => void }): null {
  const say = useSay();
  const { live, sessions } = useOnline();
  const refusal = useRefusal();
  useEffect(() => {
    document.title = live ? `(${sessions.size}) ${say("title")}` : say("title");
  }, [live, sessions.size, say]);
  useEffect(() => {
    if (refusal) recheck();
  }, [refusal, recheck]);
  return null;
}

function Body({ me }: { me: Me }): ReactNode {
  const path = usePath();
  const [params] = useParams();
  const [, part, name] = segments(path);
  switch (part) {
    case "overview":
      return <Overview me={me} />;
    case "history":
      return <History me={me} />;
    case "targets":
      return <Targets me={me} />;
    case "sessions":
      return name ? <SessionDetail key={name} name={name} id={params.get("id")} me={me} /> : <Sessions me={me} />;
    case "recordings":
      return name ? <Suspense fallback={<main className="page" />}><Recording key={path} name={name} me={me} /></Suspense> : <History me={me} />;
    case "terminal":
      return name ? <TerminalPage key={path} target={name} login={params.get("login")} me={me} /> : <Targets me={me} />;
    default:
      return <Sessions me={me} />;
  }
}
