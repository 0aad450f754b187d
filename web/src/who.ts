// Who is signed in, by what the console says, one thing after the other: pure.

import type { Me } from "./api";

export type Who =
  | { state: "asking" }
  /** `over`: they were signed in, and are no longer. */
  | { state: "nobody"; over: boolean }
  /** `over`: their sign-in is over, and what they have open goes on without it. */
  | { state: "in"; me: Me; over: boolean }
  | { state: "failed"; error: string };

export type Said =
  | { said: "in"; me: Me }
  /** `stays`: where they are, something is open that would be lost with the page. */
  | { said: "unknown"; stays: boolean }
  /** They have gone from there. */
  | { said: "left" }
  | { said: "out" }
  | { said: "nothing"; error: string };

export function heedWho(before: Who, news: Said): Who {
  switch (news.said) {
    case "in":
      return { state: "in", me: news.me, over: false };
    case "unknown":
      if (before.state === "nobody") return before;
      if (before.state === "in" && news.stays) return before.over ? before : { ...before, over: true };
      return { state: "nobody", over: before.state === "in" };
    case "left":
      return before.state === "in" && before.over ? { state: "nobody", over: true } : before;
    case "out":
      return { state: "nobody", over: false };
    case "nothing":
      // Who is in keeps their page, which says itself that it is not live.
      return before.state === "in" ? before : { state: "failed", error: news.error };
  }
}
