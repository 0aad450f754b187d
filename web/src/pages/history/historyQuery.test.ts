import { expect, it } from "vitest";
import { apiFilters, apiPageQuery, formatFieldTime, formToParams } from "./historyQuery";

const read = (text: string): URLSearchParams => new URLSearchParams(text);

it("converts local times to UTC, and drops unknown parameters", () => {
  const local = formatFieldTime(Date.parse("2026-01-02T03:04:00Z"));
  const query = apiFilters(read(`user=+alice+&since=${local}&until=never&page=7&reason=`));
  expect(query.toString()).toBe("user=alice&since=2026-01-02T03%3A04%3A00.000Z");
});

it("limits a page to a known size, but not a file", () => {
  expect(apiPageQuery(read("login=root&after=5.a&size=300")).toString()).toBe("login=root&limit=300&after=5.a");
  expect(apiPageQuery(read("size=1000000")).toString()).toBe("limit=100");
  expect(apiFilters(read("login=root&after=5.a&size=300")).toString()).toBe("login=root");
});

it("goes back to the first page with another filter", () => {
  const form = new FormData();
  form.set("user", " bob ");
  form.set("login", "");
  expect(formToParams(form, read("after=5.a&user=alice&size=300")).toString()).toBe("user=bob&size=300");
});

it("drops invalid times", () => {
  expect(apiFilters(read("since=x&until=2026-13-45T99:99")).toString()).toBe("");
});
