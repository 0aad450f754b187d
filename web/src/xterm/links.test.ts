import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { openHiddenLink, openLink, webAddress } from "./links";

const confirm = vi.fn<(question: string) => boolean>();
const open = vi.fn();

beforeEach(() => {
  vi.stubGlobal("window", { confirm, open });
  vi.stubGlobal("document", { documentElement: { lang: "en" } });
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.resetAllMocks();
});

it("reads web addresses as browsers do", () => {
  expect(webAddress("https://bank.example/a")).toBe("https://bank.example/a");
  expect(webAddress("https://b\u0430nk.example/")).toBe("https://xn--bnk-6cd.example/");
  for (const other of ["javascript:alert(1)", "file:///etc/passwd", "bank.example", ""]) expect(webAddress(other)).toBeNull();
});

it("asks before it opens a link behind a text", () => {
  confirm.mockReturnValueOnce(false).mockReturnValueOnce(true);
  openHiddenLink("https://evil.example/");
  expect(confirm.mock.calls[0]?.[0]).toContain("https://evil.example/");
  expect(open).not.toHaveBeenCalled();
  openHiddenLink("https://evil.example/");
  expect(open).toHaveBeenCalledWith("https://evil.example/", "_blank", "noopener,noreferrer");
  openHiddenLink("javascript:alert(1)");
  expect(confirm).toHaveBeenCalledTimes(2);
});

it("opens an address that the terminal shows without a question", () => {
  openLink("https://bank.example/");
  expect(open).toHaveBeenCalledOnce();
  expect(confirm).not.toHaveBeenCalled();
});
