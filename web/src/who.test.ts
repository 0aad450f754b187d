import { afterEach, expect, it, vi } from "vitest";
import { type Me, session, signIn, whenUnknown } from "./api";
import { heedWho, type Who } from "./who";

const me = { user: "alice" } as Me;
const inside: Who = { state: "in", me, over: false };
const unknown = { said: "unknown", stays: false } as const;

afterEach(() => {
  vi.unstubAllGlobals();
  whenUnknown(() => {});
});

it("says of a sign-in that it is over only to who had one and did not leave", () => {
  expect(heedWho({ state: "asking" }, unknown)).toEqual({ state: "nobody", over: false });
  const over = heedWho(inside, unknown);
  expect(over).toEqual({ state: "nobody", over: true });
  expect(heedWho(over, unknown)).toBe(over);
  expect(heedWho(over, { said: "out" })).toEqual({ state: "nobody", over: false });
  expect(heedWho(inside, { said: "out" })).toEqual({ state: "nobody", over: false });
  expect(heedWho(over, { said: "in", me })).toEqual(inside);
});

it("keeps what is open where a sign-in is over, until they go from there or sign in again", () => {
  const stays = { said: "unknown", stays: true } as const;
  const kept = heedWho(inside, stays);
  expect(kept).toEqual({ ...inside, over: true });
  expect(heedWho(kept, stays)).toBe(kept);
  expect(heedWho(kept, { said: "nothing", error: "down" })).toBe(kept);
  expect(heedWho(kept, { said: "in", me })).toEqual(inside);
  for (const end of [unknown, { said: "left" } as const]) expect(heedWho(kept, end)).toEqual({ state: "nobody", over: true });
  expect(heedWho(inside, { said: "left" })).toBe(inside);
  // Who was not in has nothing open.
  expect(heedWho({ state: "asking" }, stays)).toEqual({ state: "nobody", over: false });
});

it("keeps the page of who is in while the console does not answer", () => {
  expect(heedWho(inside, { said: "nothing", error: "down" })).toBe(inside);
  expect(heedWho({ state: "asking" }, { said: "nothing", error: "down" })).toEqual({ state: "failed", error: "down" });
});

it("tells of every 401, whatever was asked for, and of no other refusal", async () => {
  const told = vi.fn();
  whenUnknown(told);
  for (const status of [401, 403, 404, 503]) {
    vi.stubGlobal("fetch", async () => new Response(JSON.stringify({ error: "no" }), { status }));
    await expect(session("s-1")).rejects.toMatchObject({ status, message: "no" });
    await expect(signIn("t")).rejects.toMatchObject({ status });
  }
  expect(told).toHaveBeenCalledTimes(2);
});
