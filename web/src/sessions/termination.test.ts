import { expect, it } from "vitest";
import { endAll, type Outcome } from "./termination";

it("asks for each once, with the reason, and for a few at a time", async () => {
  const names = Array.from({ length: 20 }, (_, at) => `s-${at}`);
  const outcomes = new Map<string, Outcome>();
  const asked: string[] = [];
  let [now, most] = [0, 0];
  await endAll(names, "noon", (name, outcome) => outcomes.set(name, outcome), async (name, reason) => {
    asked.push(`${name} ${reason}`);
    most = Math.max(most, ++now);
    await Promise.resolve();
    now--;
    return name === "s-3" ? { state: "failed", error: "no" } : { state: "asked" };
  });
  expect(asked).toEqual(names.map((name) => `${name} noon`));
  expect(most).toBeLessThan(10);
  expect(outcomes.size).toBe(20);
  expect([...outcomes].filter(([, it]) => it.state === "failed").map(([name]) => name)).toEqual(["s-3"]);
});
