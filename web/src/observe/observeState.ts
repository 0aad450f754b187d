// The state of an observed session, as a reducer.

import type { ObserveMessage, SessionEnd, SessionInfo } from "./protocol";

export interface ObservedTerminal {
  number: number;
  isClosed: boolean;
  /** When output was last skipped, in milliseconds since 1970; null if all of it was shown. */
  skippedAt: number | null;
}

export type Phase =
  | { state: "connecting" | "live" }
  /** The client reconnects. The reason is null if it is unknown. */
  | { state: "lost"; reason: string | null }
  /** The console refuses; `status` is the HTTP status. */
  | { state: "refused"; status: number; reason: string }
  | { state: "ended"; end: SessionEnd };

export interface ObserveState {
  phase: Phase;
  /** Null until the first message. */
  session: SessionInfo | null;
  /** The number of connections so far. After each new connection, all screens are sent again. */
  generation: number;
  /** The terminals, in the order in which they were opened. */
  terminals: readonly ObservedTerminal[];
  /** The number of the terminal that the user has selected; it may no longer exist. */
  selected: number | null;
}

type ObserveEvent =
  | { type: "message"; message: ObserveMessage; now: number }
  | { type: "skipped"; number: number; now: number }
  | { type: "lost"; reason: string | null }
  | { type: "refused"; status: number; reason: string }
  | { type: "selected"; number: number };

export const INITIAL_STATE: ObserveState = { phase: { state: "connecting" }, session: null, generation: 0, terminals: [], selected: null };

/** The most closed terminals that stay visible, besides the selected one. */
export const MAX_CLOSED_TERMINALS = 4;

export function observeReducer(state: ObserveState, event: ObserveEvent): ObserveState {
  switch (event.type) {
    case "message":
      return applyMessage(state, event.message, event.now);
    case "skipped":
      return updateTerminal(state, event.number, { skippedAt: event.now });
    case "lost":
      return { ...state, phase: { state: "lost", reason: event.reason } };
    case "refused":
      return { ...state, phase: { state: "refused", status: event.status, reason: event.reason } };
    case "selected":
      return { ...state, selected: event.number };
  }
}

function applyMessage(state: ObserveState, message: ObserveMessage, now: number): ObserveState {
  switch (message.type) {
    case "following":
      return { ...state, phase: { state: "live" }, session: message, generation: state.generation + 1, terminals: [] };
    case "terminal":
      return addTerminal(state, message.number);
    case "terminal_end":
      return dropClosedTerminals(updateTerminal(state, message.number, { isClosed: true }));
    case "skipped":
      return updateTerminal(state, message.number, { skippedAt: now });
    case "end":
      return { ...state, phase: { state: "ended", end: message } };
    default:
      return state;
  }
}

/** Adds a terminal, and selects it if the selected one is closed. */
function addTerminal(state: ObserveState, number: number): ObserveState {
  if (state.terminals.some((it) => it.number === number)) return state;
  const selected = selectedTerminal(state)?.isClosed ? number : state.selected;
  return { ...state, selected, terminals: [...state.terminals, { number, isClosed: false, skippedAt: null }] };
}

function updateTerminal(state: ObserveState, number: number, change: Partial<ObservedTerminal>): ObserveState {
  return { ...state, terminals: state.terminals.map((it) => (it.number === number ? { ...it, ...change } : it)) };
}

/** Drops the oldest closed terminals, except the selected one. */
function dropClosedTerminals(state: ObserveState): ObserveState {
  const shown = selectedTerminal(state);
  const closed = state.terminals.filter((it) => it.isClosed && it !== shown);
  const dropped = new Set(closed.slice(0, Math.max(0, closed.length - MAX_CLOSED_TERMINALS)));
  return { ...state, terminals: state.terminals.filter((it) => !dropped.has(it)) };
}

/** Returns the terminal that the user has selected. If it does not exist, returns the first open terminal, or the first one. */
export function selectedTerminal({ terminals, selected }: ObserveState): ObservedTerminal | null {
  return terminals.find((it) => it.number === selected) ?? terminals.find((it) => !it.isClosed) ?? terminals[0] ?? null;
}
