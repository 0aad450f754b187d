import { expect, it, vi } from "vitest";
import type { TerminalEvent } from "../xterm/terminalEvents";
import { MAX_PENDING_CHARACTERS, TerminalRouter } from "./terminalRouter";

class FakeScreen {
  pendingCharacters = 0;
  shown: string[] = [];
  show(changes: readonly TerminalEvent[]): void {
    for (const it of changes) this.shown.push(it.kind === "size" ? `${it.columns}x${it.rows}` : it.text);
  }
}
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

it("buffers output until there is a screen, for each terminal and in order", () => {
  const router = new TerminalRouter(() => undefined);
  router.resize(1, { columns: 80, rows: 24 });
  router.write(1, bytes("a"));
  router.write(2, bytes("other"));
  const screen = new FakeScreen();
  router.attach(1, screen);
  router.resize(1, { columns: 0, rows: 5000 });
  router.write(1, bytes("b"));
  expect(screen.shown).toEqual(["80x24", "a", "80x1000", "b"]);
});

it("joins characters that are split between frames, and begins with a complete one", () => {
  const router = new TerminalRouter(() => undefined);
  const screen = new FakeScreen();
  router.attach(1, screen);
  const [first, ...rest] = bytes("中文");
  router.write(1, new Uint8Array(rest.slice(0, 2)));
  expect(screen.shown).toEqual([]);
  router.write(1, new Uint8Array(rest.slice(2, 3)));
  router.write(1, new Uint8Array(rest.slice(3)));
  expect(screen.shown.join("")).toBe("文");
  router.markGap(1);
  router.write(1, new Uint8Array([...rest.slice(0, 2), first!, ...rest.slice(0, 2)]));
  expect(screen.shown.join("")).toBe("文\x18中");
});

it("skips output that the browser cannot draw in time, and reports each gap once", () => {
  const skipped = vi.fn();
  const router = new TerminalRouter(skipped);
  const screen = new FakeScreen();
  router.attach(4, screen);
  screen.pendingCharacters = MAX_PENDING_CHARACTERS + 1;
  for (const text of ["x", "y", "z"]) router.write(4, bytes(text));
  expect([screen.shown, skipped.mock.calls]).toEqual([[], [[4]]]);
  screen.pendingCharacters = 0;
  router.write(4, bytes("on"));
  expect(screen.shown).toEqual(["\x18", "on"]);
  screen.pendingCharacters = MAX_PENDING_CHARACTERS + 1;
  router.write(4, bytes("x"));
  expect(skipped).toHaveBeenCalledTimes(2);
});

it("does not detach the screen of another terminal that has the same number", () => {
  const router = new TerminalRouter(() => undefined);
  const [old, next] = [new FakeScreen(), new FakeScreen()];
  const detach = router.attach(1, old);
  router.clear();
  router.write(1, bytes("new"));
  detach();
  router.attach(1, next);
  expect([old.shown, next.shown]).toEqual([[], ["new"]]);
});
