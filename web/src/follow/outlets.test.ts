import { expect, it, vi } from "vitest";
import type { Change } from "../recording/pieces";
import { MOST_OWED, Outlets } from "./outlets";

class Paper {
  owed = 0;
  shown: string[] = [];
  show(changes: readonly Change[]): void {
    for (const it of changes) this.shown.push(it.kind === "size" ? `${it.columns}x${it.rows}` : it.text);
  }
}
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

it("keeps what comes before there is a screen, each terminal's apart and in order", () => {
  const outlets = new Outlets(() => undefined);
  outlets.size(1, { columns: 80, rows: 24 });
  outlets.output(1, bytes("a"));
  outlets.output(2, bytes("other"));
  const paper = new Paper();
  outlets.attach(1, paper);
  outlets.size(1, { columns: 0, rows: 5000 });
  outlets.output(1, bytes("b"));
  expect(paper.shown).toEqual(["80x24", "a", "80x1000", "b"]);
});

it("puts characters together that come in two frames, and begins with a whole one", () => {
  const outlets = new Outlets(() => undefined);
  const paper = new Paper();
  outlets.attach(1, paper);
  const [first, ...rest] = bytes("中文");
  outlets.output(1, new Uint8Array(rest.slice(0, 2)));
  expect(paper.shown).toEqual([]);
  outlets.output(1, new Uint8Array(rest.slice(2, 3)));
  outlets.output(1, new Uint8Array(rest.slice(3)));
  expect(paper.shown.join("")).toBe("文");
  outlets.cut(1);
  outlets.output(1, new Uint8Array([...rest.slice(0, 2), first!, ...rest.slice(0, 2)]));
  expect(paper.shown.join("")).toBe("文\x18中");
});

it("leaves output out that the browser is too slow to draw, and says so once until it goes on", () => {
  const skipped = vi.fn();
  const outlets = new Outlets(skipped);
  const paper = new Paper();
  outlets.attach(4, paper);
  paper.owed = MOST_OWED + 1;
  for (const text of ["x", "y", "z"]) outlets.output(4, bytes(text));
  expect([paper.shown, skipped.mock.calls]).toEqual([[], [[4]]]);
  paper.owed = 0;
  outlets.output(4, bytes("on"));
  expect(paper.shown).toEqual(["\x18", "on"]);
  paper.owed = MOST_OWED + 1;
  outlets.output(4, bytes("x"));
  expect(skipped).toHaveBeenCalledTimes(2);
});

it("takes no screen away from the terminal that has its number now", () => {
  const outlets = new Outlets(() => undefined);
  const [old, next] = [new Paper(), new Paper()];
  const detach = outlets.attach(1, old);
  outlets.clear();
  outlets.output(1, bytes("new"));
  detach();
  outlets.attach(1, next);
  expect([old.shown, next.shown]).toEqual([[], ["new"]]);
});
