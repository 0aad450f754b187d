// Ends that are asked for from the list.

import assert from "node:assert/strict";
import { agree, ask, CONFIRM, count, ended, endedAs, inCluster, picture, row, signedIn } from "./stage.mjs";

/** From now on, what the dialog says of each session, one after the other. */
async function noteOutcomes(page) {
  await page.evaluate(() => {
    globalThis.outcomes = {};
    const look = () => {
      for (const one of document.querySelectorAll("[data-terminating]")) {
        const [said, before] = [one.querySelector(".outcome").textContent, (globalThis.outcomes[one.dataset.terminating] ??= [])];
        if (before.at(-1) !== said) before.push(said);
      }
    };
    look();
    new MutationObserver(look).observe(document.querySelector("dialog[open]"), { childList: true, subtree: true, characterData: true });
  });
}

export const endings = {
  /** Many are ended with one reason. The confirmation names them, each has an outcome of its own, and one is faster and leaves. */
  async many() {
    const [page, other] = [await signedIn(), await signedIn()];
    const [stays, leaves, ...chosen] = (await ask("open 22")).split(" ");
    await agree(page, other);
    for (const name of [leaves, ...chosen]) await row(page, name).getByRole("checkbox").check();
    await page.getByText("21 selected").waitFor();
    await page.getByRole("button", { name: "End…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("heading", { name: "End 21 sessions?" }).waitFor();
    const items = dialog.locator("[data-terminating]");
    assert.deepEqual((await items.evaluateAll((all) => all.map((it) => it.dataset.terminating))).sort(), [leaves, ...chosen].sort());
    for (const text of await items.allInnerTexts()) assert.match(text, /^alice → \S+@web-1/);
    await noteOutcomes(page);

    await ask(`exit ${leaves}`);
    await dialog.getByRole("button", { name: "End 20 sessions" }).waitFor();
    await dialog.getByLabel("Reason").fill("the keys are changed at noon");
    await picture(page, "many-asked");
    await dialog.getByRole("button", { name: CONFIRM }).click();
    await dialog.getByRole("heading", { name: "21 of 21 ended" }).waitFor();
    await picture(page, "many-ended");
    const outcomes = await page.evaluate(() => globalThis.outcomes);
    assert.deepEqual(outcomes, Object.fromEntries([[leaves, ["", "Ended"]], ...chosen.map((name) => [name, ["", "Ending…", "Ended"]])]));
    await dialog.getByRole("button", { name: "Close" }).click();

    const who = (await page.locator(".who").getAttribute("title")).split("\n")[0];
    for (const shown of [page, other]) {
      await ended(shown, leaves).getByText("The user left").waitFor();
      for (const name of chosen) await ended(shown, name).filter({ hasText: "Ended by an administrator" }).getByText(`by ${who}`).waitFor();
    }
    endedAs("UserExit", [leaves]);
    endedAs("AdminTerminated", chosen);
    for (const { spec } of inCluster(chosen)) {
      assert.deepEqual(spec.termination, { reason: "the keys are changed at noon", requestedBy: who, via: "Console" });
    }
    await agree(page, other);
    await page.reload();
    await count(page, 1);
    await agree(page, other);
    await ask(`answers ${stays}`);
  },

  /** A rule of the cluster's keeps one of two: that one is said not to have ended, and goes on. */
  async refused() {
    const page = await signedIn();
    const [kept, goes] = (await ask("open 2")).split(" ");
    await ask(`keep ${kept}`);
    for (const name of [kept, goes]) await row(page, name).getByRole("checkbox").check();
    await page.getByRole("button", { name: "End…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: CONFIRM }).click();
    await dialog.getByRole("heading", { name: "1 of 2 ended" }).waitFor();
    await dialog.locator(`[data-terminating="${goes}"]`).getByText("Ended", { exact: true }).waitFor();
    const outcome = dialog.locator(`[data-terminating="${kept}"]`).getByText("Not ended:");
    await outcome.filter({ hasText: "this session is kept for the auditors" }).waitFor();
    await picture(page, "refused");
    await dialog.getByRole("button", { name: "Close" }).click();
    await row(page, kept).waitFor();
    await agree(page);
    endedAs("AdminTerminated", [goes]);
    const [{ spec, status }] = inCluster([kept]);
    assert.deepEqual([spec.termination, status.phase], [undefined, "Active"]);
    await ask(`answers ${kept}`);
  },
};
