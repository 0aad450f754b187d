// The query of the list: search, filters, order and page, all kept in the URL.
//
// A page begins at a cursor instead of a row number. Its rows thus do not move when sessions before the cursor start or end.

import type { Session } from "../api/types";
import type { SelectOption } from "../components/MultiSelect";
import { containsWords } from "../containsWords";

export const SORT_COLUMNS = ["user", "target", "login", "client_address", "protocol", "start_time", "gateway"] as const;
export type SortColumn = (typeof SORT_COLUMNS)[number];
export const FILTER_FIELDS = ["user", "target", "login", "gateway", "protocol"] as const;
type FilterField = (typeof FILTER_FIELDS)[number];
export const PAGE_SIZES = [50, 100, 1000, 10000] as const;

export interface ListQuery {
  search: string;
  filters: Record<FilterField, readonly string[]>;
  sort: SortColumn;
  descending: boolean;
  /** Where the page begins; null for the first page. */
  from: Cursor | null;
  size: number;
}

/** A position in the order: the value of the sort column, and the session ID. */
interface Cursor {
  value: string;
  id: string;
}

/** Changes a query. The list goes back to its first page unless `keepCursor` is set. */
export type UpdateQuery = (change: Partial<ListQuery>, keepCursor?: boolean) => void;

export const DEFAULT_QUERY: ListQuery = {
  search: "",
  filters: { user: [], target: [], login: [], gateway: [], protocol: [] },
  sort: "start_time",
  descending: true,
  from: null,
  size: 100,
};

function mapNames<K extends string, V>(names: readonly K[], value: (name: K) => V): Record<K, V> {
  return Object.fromEntries(names.map((name) => [name, value(name)])) as Record<K, V>;
}

/** Reads a query from the parameters of the URL. Unknown values become the default. */
export function parseQuery(params: URLSearchParams): ListQuery {
  const sort = SORT_COLUMNS.find((it) => it === params.get("sort")) ?? DEFAULT_QUERY.sort;
  const size = PAGE_SIZES.find((it) => String(it) === params.get("size")) ?? DEFAULT_QUERY.size;
  const from = params.get("from");
  const separator = from?.lastIndexOf("~") ?? -1;
  const filters = mapNames(FILTER_FIELDS, (name) => params.getAll(name));
  const order = params.get("order");
  return {
    search: params.get("q") ?? "",
    filters,
    sort,
    descending: order ? order === "desc" : DEFAULT_QUERY.descending,
    from: from && separator >= 0 ? { value: from.slice(0, separator), id: from.slice(separator + 1) } : null,
    size,
  };
}

export function formatQuery(query: ListQuery): URLSearchParams {
  const params = new URLSearchParams();
  if (query.search) params.set("q", query.search);
  for (const name of FILTER_FIELDS) for (const value of query.filters[name]) params.append(name, value);
  if (query.sort !== DEFAULT_QUERY.sort) params.set("sort", query.sort);
  if (query.descending !== DEFAULT_QUERY.descending) params.set("order", query.descending ? "desc" : "asc");
  if (query.size !== DEFAULT_QUERY.size) params.set("size", String(query.size));
  if (query.from) params.set("from", `${query.from.value}~${query.from.id}`);
  return params;
}

function compareCursors(a: Cursor, b: Cursor): number {
  if (a.value !== b.value) return a.value < b.value ? -1 : 1;
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** Whether `a` comes before `b` in the order. */
export function precedes(a: Cursor, b: Cursor, descending: boolean): boolean {
  return descending ? compareCursors(a, b) > 0 : compareCursors(a, b) < 0;
}

export function cursorOf(session: Session, sort: SortColumn): Cursor {
  return { value: session[sort], id: session.session_id };
}

function matchesQuery(session: Session, { search, filters }: ListQuery): boolean {
  if (FILTER_FIELDS.some((name) => filters[name].length > 0 && !filters[name].includes(session[name]))) return false;
  return containsWords([session.name, session.user, session.target, session.login, session.client_address, session.gateway, session.client_software], search);
}

export interface ListPage {
  rows: Session[];
  /** The number of matching sessions before the page. */
  offset: number;
  /** The number of all matching sessions. */
  total: number;
  previous: Cursor | null;
  next: Cursor | null;
}

/** Returns the page of sessions that a query selects. */
export function selectPage(sessions: Iterable<Session>, query: ListQuery): ListPage {
  const { sort, descending, from, size } = query;
  const sign = descending ? -1 : 1;
  const matching = [...sessions].filter((session) => matchesQuery(session, query));
  const ordered = matching.map((session) => ({ session, key: cursorOf(session, sort) }));
  ordered.sort((a, b) => sign * compareCursors(a.key, b.key));
  const start = from ? ordered.findIndex(({ key }) => sign * compareCursors(key, from) >= 0) : 0;
  // If all sessions from the cursor on have ended, show the last page.
  const offset = start >= 0 ? start : Math.max(0, ordered.length - size);
  const rows = ordered.slice(offset, offset + size).map(({ session }) => session);
  return {
    rows,
    offset,
    total: ordered.length,
    previous: offset > size ? (ordered[offset - size]?.key ?? null) : null,
    next: ordered[offset + size]?.key ?? null,
  };
}

/** Returns the options of each filter: the values of all sessions, and the selected values, even if no session has them. */
export function filterOptions(sessions: Iterable<Session>, { filters }: ListQuery): Record<FilterField, SelectOption[]> {
  const counts = mapNames(FILTER_FIELDS, (name) => new Map(filters[name].map((value) => [value, 0])));
  for (const session of sessions) {
    for (const name of FILTER_FIELDS) counts[name].set(session[name], (counts[name].get(session[name]) ?? 0) + 1);
  }
  const toOptions = (byValue: Map<string, number>): SelectOption[] =>
    [...byValue].map(([value, count]) => ({ value, count })).sort((a, b) => (a.value < b.value ? -1 : 1));
  return mapNames(FILTER_FIELDS, (name) => toOptions(counts[name]));
}
