// The frame of the page: who is signed in, where they can go, in which language and colours.

import { lazy, type ReactNode, Suspense, useCallback, useEffect, useReducer, useRef, useState } from "react";
import { type Me, me as askWhoIAm, Refused, sentence, signOut, whenUnknown } from "./api";
import { Rail } from "./Rail";
import { Feed } from "./live/connection";
import { Live, useOnline, useRefusal } from "./live/live";
import { History } from "./pages/History";
import { Overview } from "./pages/Overview";
import { SessionDetail } from "./pages/SessionDetail";
import { SignIn } from "./pages/SignIn";
import { SignInAgain } from "./pages/SignInAgain";
import { Targets } from "./pages/Targets";
import { TerminalPage } from "./pages/TerminalPage";
import { stays, tabTitle } from "./places";
import { Sessions } from "./sessions/Sessions";
import { Guard } from "./parts/Broken";
import { segments, useParams, usePath } from "./url";
import { heedWho, type Said, type Who } from "./who";
import { type Language, type Say, Speech, speak, useSay } from "./words";

/** These are parts of their own and come only to who plays or follows something. */
const Recording = lazy(() => import("./recording"));
const Follow = lazy(() => import("./follow"));

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

/** Who this is, how to ask anew, and how to leave. */
function useWho(): [Who, () => void, () => void] {
  const [who, tell] = useReducer(heedWho, { state: "asking" });
  // Of several questions the last is right: somebody may have signed in or out since.
  const turn = useRef(0);
  const ask = useCallback((): void => {
    const mine = ++turn.current;
    askWhoIAm().then(
      (me) => mine === turn.current && tell({ said: "in", me }),
      (error: unknown) => {
        if (mine !== turn.current) return;
        const unknown = error instanceof Refused && (error.status === 401 || error.status === 501);
        tell(unknown ? isUnknown() : { said: "nothing", error: sentence(error) });
      },
    );
  }, []);
  const leave = useCallback((): void => {
    turn.current++;
    signOut().then(() => tell({ said: "out" }), ask);
  }, [ask]);
  useEffect(() => {
    whenUnknown(() => tell(isUnknown()));
    ask();
  }, [ask]);
  useEffect(() => {
    if (who.state !== "failed") return;
    const again = window.setTimeout(ask, AGAIN);
    return () => window.clearTimeout(again);
  }, [who, ask]);
  const here = stays(segments(usePath()));
  useEffect(() => {
    if (!here) tell({ said: "left" });
  }, [here]);
  return [here ? who : heedWho(who, { said: "left" }), ask, leave];
}

const isUnknown = (): Said => ({ said: "unknown", stays: stays(segments(location.pathname)) });

export function App(): ReactNode {
  const [say, changeLanguage] = useLanguage();
  const [who, ask, leave] = useWho();
  return (
    <Speech.Provider value={say}>
      <Guard>
        {who.state === "in" ? (
          <SignedIn key={who.me.user} me={who.me} over={who.over} onLanguage={changeLanguage} onOut={leave} recheck={ask} />
        ) : who.state === "nobody" ? (
          <SignIn over={who.over} onIn={ask} onLanguage={changeLanguage} />
        ) : (
          <main className="alone">{who.state === "failed" && <><h1>{say("title")}</h1><p role="alert">{say("unreachable", who.error)}</p></>}</main>
        )}
      </Guard>
    </Speech.Provider>
  );
}

interface SignedInProps {
  me: Me;
  over: boolean;
  onLanguage: () => void;
  onOut: () => void;
  /** Asks anew who this is: they may have been signed out. */
  recheck: () => void;
}

/** Nothing of one person's page is left to another: its `key` is to be the person. */
function SignedIn({ me, over, onLanguage, onOut, recheck }: SignedInProps): ReactNode {
  const path = usePath();
  const [feed] = useState(() => new Feed(recheck));
  useEffect(() => {
    if (over) return;
    feed.open();
    return () => feed.close();
  }, [feed, over]);
  return (
    <Live.Provider value={feed}>
      <Watchman recheck={recheck} />
      <div className="frame">
        <Rail me={me} onLanguage={onLanguage} onOut={onOut} />
        {over && <SignInAgain user={me.user} onIn={recheck} />}
        <Guard key={path}><Body me={me} /></Guard>
      </div>
    </Live.Provider>
  );
}

/** Has the tab say where this is and how many are online, and sees to who is signed in where the feed was refused. */
function Watchman({ recheck }: { recheck: () => void }): null {
  const say = useSay();
  const path = usePath();
  const { live, sessions } = useOnline();
  const refusal = useRefusal();
  useEffect(() => {
    document.title = tabTitle(segments(path), live ? sessions.size : null, say);
  }, [path, live, sessions.size, say]);
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
    case "follow":
      return name ? <Suspense fallback={<main className="page" />}><Follow key={path} name={name} me={me} /></Suspense> : <Sessions me={me} />;
    case "terminal":
      return name ? <TerminalPage key={path} target={name} login={params.get("login")} me={me} /> : <Targets me={me} />;
    default:
      return <Sessions me={me} />;
  }
}
