// What is asked of the history: pure. The page's address has it with local times, as fields of a form do; the console takes UTC.

export const FIELDS = ["user", "target", "login", "client_address", "status", "reason", "since", "until"] as const;
export const SIZES = [100, 300, 1000] as const;

const two = (value: number): string => String(value).padStart(2, "0");

/** A time as a form's field has it: local, to the minute. */
export function fieldTime(time: number): string {
  const at = new Date(time);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** The filters of an address, as the console takes them; what it would not understand is left out. */
export function filters(params: URLSearchParams): URLSearchParams {
  const query = new URLSearchParams();
  for (const name of FIELDS) {
    const value = params.get(name)?.trim();
    if (!value) continue;
    const isTime = name === "since" || name === "until";
    const moment = isTime ? new Date(value) : null;
    if (moment && Number.isNaN(moment.getTime())) continue;
    query.set(name, moment ? moment.toISOString() : value);
  }
  return query;
}

export function size(params: URLSearchParams): number {
  return SIZES.find((it) => String(it) === params.get("size")) ?? SIZES[0];
}

/** The page of an address, as the console takes it. */
export function pageQuery(params: URLSearchParams): URLSearchParams {
  const query = filters(params);
  const after = params.get("after");
  query.set("limit", String(size(params)));
  if (after) query.set("after", after);
  return query;
}

/** The address of what a form says, from its first page on. */
export function address(form: FormData, params: URLSearchParams): URLSearchParams {
  const query = new URLSearchParams();
  for (const name of FIELDS) {
    const value = String(form.get(name) ?? "").trim();
    if (value) query.set(name, value);
  }
  if (size(params) !== SIZES[0]) query.set("size", String(size(params)));
  return query;
}
