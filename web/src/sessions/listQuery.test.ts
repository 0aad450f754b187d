import { describe, expect, it } from "vitest";
import type { Session } from "../api/types";
import { makeSession } from "../fixtures";
import { cursorOf, DEFAULT_QUERY, filterOptions, formatQuery, parseQuery, selectPage } from "./listQuery";

const many = (count: number): Session[] =>
  Array.from({ length: count }, (_, at) =>
    makeSession(`id-${at}`, { user: `user-${at % 7}`, start_time: new Date(Date.UTC(2026, 0, 1) + at * 1000).toISOString() }),
  );
const names = (rows: readonly Session[]): string[] => rows.map((row) => row.session_id);

describe("a query", () => {
  it("survives a round trip through the URL", () => {
    const query = {
      ...DEFAULT_QUERY, search: "a & b", filters: { ...DEFAULT_QUERY.filters, user: ["x", "y"], target: ["web~1"] }, sort: "user" as const,
      descending: false, from: { value: "a~b", id: "id-1" }, size: 50,
    };
    expect(parseQuery(formatQuery(query))).toEqual(query);
    expect(formatQuery(DEFAULT_QUERY).toString()).toBe("");
    expect(parseQuery(new URLSearchParams("sort=evil&size=7&order="))).toEqual(DEFAULT_QUERY);
  });

  it("searches, filters and sorts", () => {
    const rows = [makeSession("1", { user: "bob", target: "db" }), makeSession("2", { client_software: "PuTTY" }), makeSession("3", { user: "Carol" })];
    const found = (text: string): string[] => names(selectPage(rows, parseQuery(new URLSearchParams(text))).rows);
    expect(found("q=PUTTY")).toEqual(["2"]);
    expect(found("q=bob+db")).toEqual(["1"]);
    expect(found("q=bob+web")).toEqual([]);
    expect(found("user=bob&user=Carol")).toEqual(["3", "1"]);
    expect(found("user=bob&target=web-1")).toEqual([]);
    expect(found("sort=user&order=asc")).toEqual(["3", "2", "1"]);
    const { user } = filterOptions([...rows, makeSession("4")], parseQuery(new URLSearchParams("user=gone")));
    expect(user.map(({ value, count }) => `${value} ${count}`)).toEqual(["Carol 1", "alice 2", "bob 1", "gone 0"]);
  });

  it("pages through all sessions, each once", () => {
    const rows = many(250);
    const seen: string[] = [];
    for (let query = { ...DEFAULT_QUERY, size: 100 }; ; ) {
      const shown = selectPage(rows, query);
      seen.push(...names(shown.rows));
      if (!shown.next) break;
      query = { ...query, from: shown.next };
    }
    expect([seen.length, new Set(seen).size]).toEqual([250, 250]);
    const last = selectPage(rows, { ...DEFAULT_QUERY, size: 100, from: cursorOf(rows[49]!, "start_time") });
    expect([last.offset, last.total, last.next]).toEqual([200, 250, null]);
    expect(selectPage(rows, { ...DEFAULT_QUERY, size: 100, from: last.previous! }).offset).toBe(100);
  });

  it("keeps its rows while sessions before them start and end", () => {
    const rows = many(300);
    const second = selectPage(rows, { ...DEFAULT_QUERY, size: 50 }).next!;
    const query = { ...DEFAULT_QUERY, size: 50, from: selectPage(rows, { ...DEFAULT_QUERY, size: 50, from: second }).next! };
    const before = names(selectPage(rows, query).rows);
    const churned = [...rows.filter((_, at) => at < 250 || at % 2 === 0), makeSession("new", { start_time: "2026-02-01T00:00:00Z" })];
    const after = selectPage(churned, query);
    expect(names(after.rows)).toEqual(before);
    expect(after.offset).not.toBe(100);
  });

  it("shows the last page if all sessions from its cursor on have ended", () => {
    const rows = many(120);
    const query = { ...DEFAULT_QUERY, size: 50, from: { value: "2020-01-01T00:00:00Z", id: "x" } };
    expect(names(selectPage(rows, query).rows)).toHaveLength(50);
    expect(selectPage([], query)).toMatchObject({ rows: [], offset: 0, total: 0, next: null, previous: null });
  });

  it("is quick with ten thousand", () => {
    const rows = many(10_000);
    const shown = selectPage(rows, { ...DEFAULT_QUERY, size: 10_000, search: "user-3" });
    expect(shown.total).toBe(rows.filter((row) => row.user === "user-3").length);
  });
});
