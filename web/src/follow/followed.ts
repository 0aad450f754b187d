// How it stands with a session that is followed, one thing after the other: pure.

import type { End, Said, Whose } from "./wire";

export interface Terminal {
  number: number;
  ended: boolean;
  /** When output was last left out, in milliseconds since 1970; null where all of it is shown. */
  skipped: number | null;
}

export type Phase =
  | { state: "connecting" | "live" }
  /** It is tried again; `why` where anybody told. */
  | { state: "lost"; why: string | null }
  /** It is not. */
  | { state: "refused"; status: number; why: string }
  | { state: "over"; end: End };

export interface Followed {
  phase: Phase;
  /** Null until it is told. */
  whose: Whose | null;
  /** How often following has begun: with each time all that is shown comes anew. */
  round: number;
  /** In the order in which they came. */
  terminals: readonly Terminal[];
  /** The number of the one that is looked at; of those that there are none may have it. */
  chosen: number | null;
}

export type News =
  | { news: "said"; said: Said; now: number }
  | { news: "skipped"; number: number; now: number }
  | { news: "lost"; why: string | null }
  | { news: "refused"; status: number; why: string }
  | { news: "chosen"; number: number };

export const NOTHING: Followed = { phase: { state: "connecting" }, whose: null, round: 0, terminals: [], chosen: null };

/** How many that are closed can still be looked at. */
export const CLOSED_KEPT = 4;

export function heed(before: Followed, news: News): Followed {
  switch (news.news) {
    case "said":
      return heedSaid(before, news.said, news.now);
    case "skipped":
      return changed(before, news.number, { skipped: news.now });
    case "lost":
      return { ...before, phase: { state: "lost", why: news.why } };
    case "refused":
      return { ...before, phase: { state: "refused", status: news.status, why: news.why } };
    case "chosen":
      return { ...before, chosen: news.number };
  }
}

function heedSaid(before: Followed, said: Said, now: number): Followed {
  switch (said.type) {
    case "following":
      return { ...before, phase: { state: "live" }, whose: said, round: before.round + 1, terminals: [] };
    case "terminal":
      return appeared(before, said.number);
    case "terminal_end":
      return pruned(changed(before, said.number, { ended: true }));
    case "skipped":
      return changed(before, said.number, { skipped: now });
    case "end":
      return { ...before, phase: { state: "over", end: said } };
    default:
      return before;
  }
}

/** Who looks at one that is closed is shown the one that has come. */
function appeared(before: Followed, number: number): Followed {
  if (before.terminals.some((it) => it.number === number)) return before;
  const chosen = looked(before)?.ended ? number : before.chosen;
  return { ...before, chosen, terminals: [...before.terminals, { number, ended: false, skipped: null }] };
}

function changed(before: Followed, number: number, more: Partial<Terminal>): Followed {
  return { ...before, terminals: before.terminals.map((it) => (it.number === number ? { ...it, ...more } : it)) };
}

/** Forgets the oldest that are closed, but for the one that is looked at. */
function pruned(before: Followed): Followed {
  const shown = looked(before);
  const closed = before.terminals.filter((it) => it.ended && it !== shown);
  const gone = new Set(closed.slice(0, Math.max(0, closed.length - CLOSED_KEPT)));
  return { ...before, terminals: before.terminals.filter((it) => !gone.has(it)) };
}

/** The terminal that is looked at: the chosen one, or else the first that is open, or is there at all. */
export function looked({ terminals, chosen }: Followed): Terminal | null {
  return terminals.find((it) => it.number === chosen) ?? terminals.find((it) => !it.ended) ?? terminals[0] ?? null;
}
