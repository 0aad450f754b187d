import { afterEach, expect, it, vi } from "vitest";
import { type Me, session, signIn, whenUnknown } from "./api";
import { heedWho, type Who } from "./who";

const me = { user: "alice" } as Me;
const inside: Who = { state: "in", me };

afterEach(() => {
  vi.unstubAllGlobals();
  whenUnknown(() => {});
});

it("says of a sign-in that it is over only to who had one and did not leave", () => {
  expect(heedWho({ state: "asking" }, { said: "unknown" })).toEqual({ state: "nobody", over: false });
  const over = heedWho(inside, { said: "unknown" });
  expect(over).toEqual({ state: "nobody", over: true });
  expect(heedWho(over, { said: "unknown" })).toBe(over);
  expect(heedWho(over, { said: "out" })).toEqual({ state: "nobody", over: false });
  expect(heedWho(inside, { said: "out" })).toEqual({ state: "nobody", over: false });
  expect(heedWho(over, { said: "in", me })).toEqual(inside);
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
