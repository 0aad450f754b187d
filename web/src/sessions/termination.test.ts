import { expect, it } from "vitest";
import { terminateAll, type TerminationOutcome } from "./termination";

it("terminates each session once, with the reason, and a few at a time", async () => {
  const names = Array.from({ length: 20 }, (_, at) => `s-${at}`);
  const outcomes = new Map<string, TerminationOutcome>();
  const requests: string[] = [];
  let [now, most] = [0, 0];
  await terminateAll(names, "noon", (name, outcome) => outcomes.set(name, outcome), async (name, reason) => {
    requests.push(`${name} ${reason}`);
    most = Math.max(most, ++now);
    await Promise.resolve();
    now--;
    return name === "s-3" ? { state: "failed", error: "no" } : { state: "requested" };
  });
  expect(requests).toEqual(names.map((name) => `${name} noon`));
  expect(most).toBeLessThan(10);
  expect(outcomes.size).toBe(20);
  expect([...outcomes].filter(([, it]) => it.state === "failed").map(([name]) => name)).toEqual(["s-3"]);
});
