// The page's frame: sign-in, live feed, sidebar, and the page of the current path.

import { lazy, type ReactNode, Suspense, useEffect, useState } from "react";
import type { CurrentUser } from "./api/types";
import { useAuth } from "./auth/useAuth";
import { ErrorBoundary } from "./components/ErrorBoundary";
import { Sidebar } from "./components/Sidebar";
import { FeedClient } from "./feed/feedClient";
import { FeedContext, useFeedRefusal, useFeedState } from "./feed/feedContext";
import { TranslationContext, useTranslation } from "./i18n";
import { useLanguage } from "./i18n/useLanguage";
import { SessionDetailPage } from "./pages/detail/SessionDetailPage";
import { HistoryPage } from "./pages/history/HistoryPage";
import { OverviewPage } from "./pages/overview/OverviewPage";
import { ReauthenticationBanner } from "./pages/ReauthenticationBanner";
import { SignInPage } from "./pages/SignInPage";
import { TargetsPage } from "./pages/targets/TargetsPage";
import { TerminalPage } from "./pages/TerminalPage";
import { pathSegments, usePath, useSearchParams } from "./router";
import { documentTitle } from "./routes";
import { SessionsPage } from "./sessions/SessionsPage";

// These pages are separate chunks, so that only users who play or observe a session load them.
const RecordingPage = lazy(() => import("./recording"));
const FollowPage = lazy(() => import("./observe/index"));

export function App(): ReactNode {
  const [t, switchLanguage] = useLanguage();
  const { auth, recheck, leave } = useAuth();
  return (
    <TranslationContext.Provider value={t}>
      <ErrorBoundary>
        {auth.state === "signedIn" ? (
          <SignedIn key={auth.me.user} me={auth.me} expired={auth.expired} onSwitchLanguage={switchLanguage} onSignOut={leave} recheck={recheck} />
        ) : auth.state === "signedOut" ? (
          <SignInPage expired={auth.expired} incomplete={auth.incomplete} onSignedIn={recheck} onSwitchLanguage={switchLanguage} />
        ) : (
          <main className="centered">{auth.state === "failed" && <><h1>{t("title")}</h1><p role="alert">{t("unreachable", auth.error)}</p></>}</main>
        )}
      </ErrorBoundary>
    </TranslationContext.Provider>
  );
}

interface SignedInProps {
  me: CurrentUser;
  expired: boolean;
  onSwitchLanguage: () => void;
  onSignOut: () => void;
  /** Asks the console again who is signed in. */
  recheck: () => void;
}

/** The page of a signed-in user. The component's `key` must be the user, so that another user starts with an empty page. */
function SignedIn({ me, expired, onSwitchLanguage, onSignOut, recheck }: SignedInProps): ReactNode {
  const path = usePath();
  const [feed] = useState(() => new FeedClient(recheck));
  useEffect(() => {
    if (expired) return;
    feed.open();
    return () => feed.close();
  }, [feed, expired]);
  return (
    <FeedContext.Provider value={feed}>
      <FeedEffects recheck={recheck} />
      <div className="frame">
        <Sidebar me={me} onSwitchLanguage={onSwitchLanguage} onSignOut={onSignOut} />
        {expired && <ReauthenticationBanner user={me.user} onSignedIn={recheck} />}
        <ErrorBoundary key={path}><CurrentPage me={me} /></ErrorBoundary>
      </div>
    </FeedContext.Provider>
  );
}

/** Updates the tab's title from the feed, and rechecks the sign-in when the feed is refused. */
function FeedEffects({ recheck }: { recheck: () => void }): null {
  const t = useTranslation();
  const path = usePath();
  const { live, sessions } = useFeedState();
  const refusal = useFeedRefusal();
  useEffect(() => {
    document.title = documentTitle(pathSegments(path), live ? sessions.size : null, t);
  }, [path, live, sessions.size, t]);
  useEffect(() => {
    if (refusal) recheck();
  }, [refusal, recheck]);
  return null;
}

function CurrentPage({ me }: { me: CurrentUser }): ReactNode {
  const path = usePath();
  const [params] = useSearchParams();
  const [, page, name] = pathSegments(path);
  switch (page) {
    case "overview":
      return <OverviewPage me={me} />;
    case "history":
      return <HistoryPage me={me} />;
    case "targets":
      return <TargetsPage me={me} />;
    case "sessions":
      return name ? <SessionDetailPage key={name} name={name} id={params.get("id")} me={me} /> : <SessionsPage me={me} />;
    case "recordings":
      return name ? <Suspense fallback={<main className="page" />}><RecordingPage key={path} name={name} me={me} /></Suspense> : <HistoryPage me={me} />;
    case "follow":
      return name ? <Suspense fallback={<main className="page" />}><FollowPage key={path} name={name} me={me} /></Suspense> : <SessionsPage me={me} />;
    case "terminal":
      return name ? <TerminalPage key={path} target={name} login={params.get("login")} me={me} /> : <TargetsPage me={me} />;
    default:
      return <SessionsPage me={me} />;
  }
}
