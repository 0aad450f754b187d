// Queries of the history. The page's address has local times, like the form's fields; the API takes UTC.

import { formatLocalTime } from "../../format";

export const FILTER_FIELDS = ["user", "target", "login", "client_address", "status", "reason", "since", "until"] as const;
export const PAGE_SIZES = [100, 300, 1000] as const;

/** Returns a time as the value of a `datetime-local` field: in local time, to the minute. */
export function formatFieldTime(time: number): string {
  return formatLocalTime(time).slice(0, 16).replace(" ", "T");
}

/** Converts the filters of an address for the API, and drops invalid times. */
export function apiFilters(params: URLSearchParams): URLSearchParams {
  const query = new URLSearchParams();
  for (const name of FILTER_FIELDS) {
    const value = params.get(name)?.trim();
    if (!value) continue;
    const isTime = name === "since" || name === "until";
    const time = isTime ? new Date(value) : null;
    if (time && Number.isNaN(time.getTime())) continue;
    query.set(name, time ? time.toISOString() : value);
  }
  return query;
}

export function pageSize(params: URLSearchParams): number {
  return PAGE_SIZES.find((it) => String(it) === params.get("size")) ?? PAGE_SIZES[0];
}

/** Converts the filters and the page of an address for the API. */
export function apiPageQuery(params: URLSearchParams): URLSearchParams {
  const query = apiFilters(params);
  const after = params.get("after");
  query.set("limit", String(pageSize(params)));
  if (after) query.set("after", after);
  return query;
}

/** Returns the address for the values of the form, beginning at the first page. */
export function formToParams(form: FormData, params: URLSearchParams): URLSearchParams {
  const query = new URLSearchParams();
  for (const name of FILTER_FIELDS) {
    const value = String(form.get(name) ?? "").trim();
    if (value) query.set(name, value);
  }
  if (pageSize(params) !== PAGE_SIZES[0]) query.set("size", String(pageSize(params)));
  return query;
}
