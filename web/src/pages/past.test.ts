import { expect, it } from "vitest";
import { address, fieldTime, filters, pageQuery } from "./past";

const read = (text: string): URLSearchParams => new URLSearchParams(text);

it("asks in UTC for what the address says locally, and for nothing that the console does not know", () => {
  const local = fieldTime(Date.parse("2026-01-02T03:04:00Z"));
  const query = filters(read(`user=+alice+&since=${local}&until=never&page=7&reason=`));
  expect(query.toString()).toBe("user=alice&since=2026-01-02T03%3A04%3A00.000Z");
});

it("asks for a page of a known size, and files have all of them", () => {
  expect(pageQuery(read("login=root&after=5.a&size=300")).toString()).toBe("login=root&limit=300&after=5.a");
  expect(pageQuery(read("size=1000000")).toString()).toBe("limit=100");
  expect(filters(read("login=root&after=5.a&size=300")).toString()).toBe("login=root");
});

it("begins anew with another filter", () => {
  const form = new FormData();
  form.set("user", " bob ");
  form.set("login", "");
  expect(address(form, read("after=5.a&user=alice&size=300")).toString()).toBe("user=bob&size=300");
});

it("asks for nothing by a time that is none", () => {
  expect(filters(read("since=x&until=2026-13-45T99:99")).toString()).toBe("");
});
