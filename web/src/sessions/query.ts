// Which sessions are on the page, in which order: pure, and all of it in the URL, so that a page can be shared.
//
// A page begins with a place in the order and not with a number, so that what comes or goes before it moves nothing.

import type { Session } from "../api/types";

export const SORTS = ["user", "target", "login", "client_address", "protocol", "start_time", "gateway"] as const;
export type Sort = (typeof SORTS)[number];
export const FILTERS = ["user", "target", "login", "gateway", "protocol"] as const;
export type Filter = (typeof FILTERS)[number];
export const SIZES = [50, 100, 1000, 10000] as const;

export interface Query {
  search: string;
  filters: Record<Filter, readonly string[]>;
  sort: Sort;
  descending: boolean;
  /** Where the page begins: a row's value and id; null at the beginning. */
  from: Place | null;
  size: number;
}

export interface Place {
  value: string;
  id: string;
}

export const USUAL: Query = {
  search: "",
  filters: { user: [], target: [], login: [], gateway: [], protocol: [] },
  sort: "start_time",
  descending: true,
  from: null,
  size: 100,
};

function by<K extends string, V>(names: readonly K[], value: (name: K) => V): Record<K, V> {
  return Object.fromEntries(names.map((name) => [name, value(name)])) as Record<K, V>;
}

export function read(params: URLSearchParams): Query {
  const sort = SORTS.find((it) => it === params.get("sort")) ?? USUAL.sort;
  const size = SIZES.find((it) => String(it) === params.get("size")) ?? USUAL.size;
  const from = params.get("from");
  const bar = from?.lastIndexOf("~") ?? -1;
  const filters = by(FILTERS, (name) => params.getAll(name));
  const order = params.get("order");
  return {
    search: params.get("q") ?? "",
    filters,
    sort,
    descending: order ? order === "desc" : USUAL.descending,
    from: from && bar >= 0 ? { value: from.slice(0, bar), id: from.slice(bar + 1) } : null,
    size,
  };
}

export function write(query: Query): URLSearchParams {
  const params = new URLSearchParams();
  if (query.search) params.set("q", query.search);
  for (const name of FILTERS) for (const value of query.filters[name]) params.append(name, value);
  if (query.sort !== USUAL.sort) params.set("sort", query.sort);
  if (query.descending !== USUAL.descending) params.set("order", query.descending ? "desc" : "asc");
  if (query.size !== USUAL.size) params.set("size", String(query.size));
  if (query.from) params.set("from", `${query.from.value}~${query.from.id}`);
  return params;
}

function order(a: Place, b: Place): number {
  if (a.value !== b.value) return a.value < b.value ? -1 : 1;
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** Whether something comes before something else. */
export function precedes(a: Place, b: Place, descending: boolean): boolean {
  return descending ? order(a, b) > 0 : order(a, b) < 0;
}

export function place(session: Session, sort: Sort): Place {
  return { value: session[sort], id: session.session_id };
}

function fits(session: Session, { search, filters }: Query): boolean {
  if (FILTERS.some((name) => filters[name].length > 0 && !filters[name].includes(session[name]))) return false;
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const fields = [session.name, session.user, session.target, session.login, session.client_address, session.gateway];
  const text = [...fields, session.client_software ?? ""].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

export interface Page {
  rows: Session[];
  /** How many fit before the page, and in all. */
  before: number;
  total: number;
  previous: Place | null;
  next: Place | null;
}

/** The page of a query. */
export function page(sessions: Iterable<Session>, query: Query): Page {
  const { sort, descending, from, size } = query;
  const sign = descending ? -1 : 1;
  const found = [...sessions].filter((session) => fits(session, query));
  const keyed = found.map((session) => ({ session, key: place(session, sort) }));
  keyed.sort((a, b) => sign * order(a.key, b.key));
  const start = from ? keyed.findIndex(({ key }) => sign * order(key, from) >= 0) : 0;
  // Everything behind the place has ended: the last page is left.
  const before = start >= 0 ? start : Math.max(0, keyed.length - size);
  const rows = keyed.slice(before, before + size).map(({ session }) => session);
  return {
    rows,
    before,
    total: keyed.length,
    previous: before > size ? (keyed[before - size]?.key ?? null) : null,
    next: keyed[before + size]?.key ?? null,
  };
}

/** One value of a filter, and how many sessions have it. */
export interface Option {
  value: string;
  count: number;
}

/** What can be chosen in each filter: what there is, and what is chosen although there is none of it. */
export function choices(sessions: Iterable<Session>, { filters }: Query): Record<Filter, Option[]> {
  const counts = by(FILTERS, (name) => new Map(filters[name].map((value) => [value, 0])));
  for (const session of sessions) {
    for (const name of FILTERS) counts[name].set(session[name], (counts[name].get(session[name]) ?? 0) + 1);
  }
  const ordered = (found: Map<string, number>): Option[] =>
    [...found].map(([value, count]) => ({ value, count })).sort((a, b) => (a.value < b.value ? -1 : 1));
  return by(FILTERS, (name) => ordered(counts[name]));
}
