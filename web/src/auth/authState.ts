// The state of the sign-in, as a reducer.

import type { CurrentUser } from "../api/types";

export type AuthState =
  | { state: "loading" }
  /** `expired`: the user was signed in before. `incomplete`: the user signed out, but copies of the cookie stay valid. */
  | { state: "signedOut"; expired: boolean; incomplete: boolean }
  /** `expired`: the sign-in has expired, but the open page keeps running without it. */
  | { state: "signedIn"; me: CurrentUser; expired: boolean }
  | { state: "failed"; error: string };

export type AuthEvent =
  | { type: "signedIn"; me: CurrentUser }
  /** `keepPage`: the open page holds a live session that must not be lost. */
  | { type: "unauthorized"; keepPage: boolean }
  /** The user navigated away from a page with a live session. */
  | { type: "leftPage" }
  /** `incomplete`: the console could not record the sign-out. */
  | { type: "signedOut"; incomplete: boolean }
  | { type: "failed"; error: string };

export function authReducer(state: AuthState, event: AuthEvent): AuthState {
  switch (event.type) {
    case "signedIn":
      return { state: "signedIn", me: event.me, expired: false };
    case "unauthorized":
      if (state.state === "signedOut") return state;
      if (state.state === "signedIn" && event.keepPage) return state.expired ? state : { ...state, expired: true };
      return { state: "signedOut", expired: state.state === "signedIn", incomplete: false };
    case "leftPage":
      return state.state === "signedIn" && state.expired ? { state: "signedOut", expired: true, incomplete: false } : state;
    case "signedOut":
      return { state: "signedOut", expired: false, incomplete: event.incomplete };
    case "failed":
      // A signed-in user keeps the page, which shows that its data is not live.
      return state.state === "signedIn" ? state : { state: "failed", error: event.error };
  }
}
