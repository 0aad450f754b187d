import { expect, it } from "vitest";
import { filesAddress, join, parent, size } from "./files";

it("leads to a file, whatever its name", () => {
  expect(filesAddress("https://b", "s-1", "/tmp/a b&c")).toBe("https://b/terminal/v1/sessions/s-1/files?path=%2Ftmp%2Fa+b%26c");
  expect(filesAddress("https://b", "s-1", "x", true)).toBe("https://b/terminal/v1/sessions/s-1/files?path=x&overwrite=true");
});

it("goes down and up", () => {
  expect(join("/", "etc")).toBe("/etc");
  expect(join("/home", "a")).toBe("/home/a");
  expect(["/home/a", "/home/a/", "/home", "/", "."].map(parent)).toEqual(["/home", "/home", "/", "/", "./.."]);
});

it("says how big a file is", () => {
  expect([null, 0, 1023, 1024, 1536, 5 * 1024 ** 3].map(size)).toEqual(["", "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
});
