// The React hook that asks the console who is signed in.

import { useCallback, useEffect, useReducer, useRef } from "react";
import { fetchCurrentUser, hasStatus, onUnauthorized, signOut, toErrorMessage } from "../api/client";
import { pathSegments, usePath } from "../router";
import { holdsLiveSession } from "../routes";
import { type AuthEvent, authReducer, type AuthState } from "./authState";

/** Delay before the next attempt when the console does not answer. */
const RETRY_DELAY_MS = 2000;

interface Auth {
  auth: AuthState;
  /** Asks the console again who is signed in. */
  recheck: () => void;
  leave: () => void;
}

export function useAuth(): Auth {
  const [auth, dispatch] = useReducer(authReducer, { state: "loading" });
  // Only the answer to the latest request counts: the user may have signed in or out in between.
  const latestRequest = useRef(0);
  const recheck = useCallback((): void => {
    const request = ++latestRequest.current;
    fetchCurrentUser().then(
      (me) => request === latestRequest.current && dispatch({ type: "signedIn", me }),
      (error: unknown) => {
        if (request !== latestRequest.current) return;
        dispatch(hasStatus(error, 401, 501) ? unauthorized() : { type: "failed", error: toErrorMessage(error) });
      },
    );
  }, []);
  const leave = useCallback((): void => {
    latestRequest.current++;
    signOut().then(
      () => dispatch({ type: "signedOut", incomplete: false }),
      // With 503 the console has deleted the browser's cookie, but copies of it stay valid.
      (error: unknown) => (hasStatus(error, 503) ? dispatch({ type: "signedOut", incomplete: true }) : recheck()),
    );
  }, [recheck]);
  useEffect(() => {
    onUnauthorized(() => dispatch(unauthorized()));
    recheck();
  }, [recheck]);
  useEffect(() => {
    if (auth.state !== "failed") return;
    const timer = window.setTimeout(recheck, RETRY_DELAY_MS);
    return () => window.clearTimeout(timer);
  }, [auth, recheck]);
  const keepPage = holdsLiveSession(pathSegments(usePath()));
  useEffect(() => {
    if (!keepPage) dispatch({ type: "leftPage" });
  }, [keepPage]);
  return { auth: keepPage ? auth : authReducer(auth, { type: "leftPage" }), recheck, leave };
}

const unauthorized = (): AuthEvent => ({ type: "unauthorized", keepPage: holdsLiveSession(pathSegments(location.pathname)) });
