import { expect, it } from "vitest";
import { csv } from "./csv";
import { session } from "../samples";

it("is one line a session, and runs nothing in a spreadsheet", () => {
  const strange = session("a", { client_software: '=cmd|"x"', message: "a, b\nc", exit_code: -1, terminated_by: "@evil" });
  const [head, ...rest] = csv([strange, session("b")]).split("\r\n");
  expect(head?.split(",").slice(0, 3)).toEqual(["session_id", "name", "user"]);
  expect(rest[0]).toBe(`a,s-a,alice,alice,web-1,root,SSH,192.0.2.1,"'=cmd|""x""",gateway-0,active,,"a, b\nc",2026-01-02T03:04:05Z,,,-1,,,,'@evil`);
  expect(rest.slice(2)).toEqual([""]);
});
