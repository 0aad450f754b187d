// Who is signed in, by what the console says, one thing after the other: pure.

import type { Me } from "./api";

export type Who =
  | { state: "asking" }
  /** `over`: they were signed in, and are no longer. */
  | { state: "nobody"; over: boolean }
  | { state: "in"; me: Me }
  | { state: "failed"; error: string };

export type Said = { said: "in"; me: Me } | { said: "unknown" } | { said: "out" } | { said: "nothing"; error: string };

export function heedWho(before: Who, news: Said): Who {
  switch (news.said) {
    case "in":
      return { state: "in", me: news.me };
    case "unknown":
      return before.state === "nobody" ? before : { state: "nobody", over: before.state === "in" };
    case "out":
      return { state: "nobody", over: false };
    case "nothing":
      // Who is in keeps their page, which says itself that it is not live.
      return before.state === "in" ? before : { state: "failed", error: news.error };
  }
}
