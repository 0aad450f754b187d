import { afterEach, expect, it, vi } from "vitest";
import { fetchSession, onUnauthorized, signIn } from "../api/client";
import type { CurrentUser } from "../api/types";
import { authReducer, type AuthState } from "./authState";

const me = { user: "alice" } as CurrentUser;
const signedIn: AuthState = { state: "signedIn", me, expired: false };
const signedOut: AuthState = { state: "signedOut", expired: false, incomplete: false };
const unauthorized = { type: "unauthorized", keepPage: false } as const;

afterEach(() => {
  vi.unstubAllGlobals();
  onUnauthorized(() => {});
});

it("marks a sign-in as expired only if there was one and the user did not sign out", () => {
  expect(authReducer({ state: "loading" }, unauthorized)).toEqual(signedOut);
  const expired = authReducer(signedIn, unauthorized);
  expect(expired).toEqual({ ...signedOut, expired: true });
  expect(authReducer(expired, unauthorized)).toBe(expired);
  expect(authReducer(expired, { type: "signedOut", incomplete: false })).toEqual(signedOut);
  expect(authReducer(signedIn, { type: "signedOut", incomplete: false })).toEqual(signedOut);
  expect(authReducer(expired, { type: "signedIn", me })).toEqual(signedIn);
});

it("says so when copies of the cookie stay valid, until the user signs in again", () => {
  const incomplete = authReducer(signedIn, { type: "signedOut", incomplete: true });
  expect(incomplete).toEqual({ ...signedOut, incomplete: true });
  expect(authReducer(incomplete, unauthorized)).toBe(incomplete);
  expect(authReducer(incomplete, { type: "signedIn", me })).toEqual(signedIn);
});

it("keeps a page with a live session after the sign-in expires, until the user leaves it or signs in again", () => {
  const keepPage = { type: "unauthorized", keepPage: true } as const;
  const kept = authReducer(signedIn, keepPage);
  expect(kept).toEqual({ ...signedIn, expired: true });
  expect(authReducer(kept, keepPage)).toBe(kept);
  expect(authReducer(kept, { type: "failed", error: "down" })).toBe(kept);
  expect(authReducer(kept, { type: "signedIn", me })).toEqual(signedIn);
  for (const end of [unauthorized, { type: "leftPage" } as const]) expect(authReducer(kept, end)).toEqual({ ...signedOut, expired: true });
  expect(authReducer(signedIn, { type: "leftPage" })).toBe(signedIn);
  // A user who was not signed in has no open page.
  expect(authReducer({ state: "loading" }, keepPage)).toEqual(signedOut);
});

it("keeps a signed-in user's page while the console does not answer", () => {
  expect(authReducer(signedIn, { type: "failed", error: "down" })).toBe(signedIn);
  expect(authReducer({ state: "loading" }, { type: "failed", error: "down" })).toEqual({ state: "failed", error: "down" });
});

it("reports every 401 to the listener, and no other error", async () => {
  const listener = vi.fn();
  onUnauthorized(listener);
  for (const status of [401, 403, 404, 503]) {
    vi.stubGlobal("fetch", async () => new Response(JSON.stringify({ error: "no" }), { status }));
    await expect(fetchSession("s-1")).rejects.toMatchObject({ status, message: "no" });
    await expect(signIn("t")).rejects.toMatchObject({ status });
  }
  expect(listener).toHaveBeenCalledTimes(2);
});
