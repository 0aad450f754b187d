// The state of the sign-in, as a reducer.

import type { CurrentUser } from "../api/types";

export type AuthState =
  | { state: "loading" }
  /** `expired`: the user was signed in before. */
  | { state: "signedOut"; expired: boolean }
  /** `expired`: the sign-in has expired, but the open page keeps running without it. */
  | { state: "signedIn"; me: CurrentUser; expired: boolean }
  | { state: "failed"; error: string };

export type AuthEvent =
  | { type: "signedIn"; me: CurrentUser }
  /** `keepPage`: the open page holds a live session that must not be lost. */
  | { type: "unauthorized"; keepPage: boolean }
  /** The user navigated away from a page with a live session. */
  | { type: "leftPage" }
  | { type: "signedOut" }
  | { type: "failed"; error: string };

export function authReducer(state: AuthState, event: AuthEvent): AuthState {
  switch (event.type) {
    case "signedIn":
      return { state: "signedIn", me: event.me, expired: false };
    case "unauthorized":
      if (state.state === "signedOut") return state;
      if (state.state === "signedIn" && event.keepPage) return state.expired ? state : { ...state, expired: true };
      return { state: "signedOut", expired: state.state === "signedIn" };
    case "leftPage":
      return state.state === "signedIn" && state.expired ? { state: "signedOut", expired: true } : state;
    case "signedOut":
      return { state: "signedOut", expired: false };
    case "failed":
      // A signed-in user keeps the page, which shows that its data is not live.
      return state.state === "signedIn" ? state : { state: "failed", error: event.error };
  }
}
