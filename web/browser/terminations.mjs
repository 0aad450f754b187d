// Scenarios in which sessions are terminated from the list.

import assert from "node:assert/strict";
import {
  askTest, assertEndReason, clusterSessions, CONFIRM_BUTTON, endedItem, expectConsistent,
  expectCount, openSignedInPage, row, screenshot,
} from "./harness.mjs";

/** Records from now on each text that the dialog shows for each session. */
async function recordOutcomes(page) {
  await page.evaluate(() => {
    globalThis.outcomes = {};
    const look = () => {
      for (const one of document.querySelectorAll("[data-terminating]")) {
        const [text, earlier] = [one.querySelector(".outcome").textContent, (globalThis.outcomes[one.dataset.terminating] ??= [])];
        if (earlier.at(-1) !== text) earlier.push(text);
      }
    };
    look();
    new MutationObserver(look).observe(document.querySelector("dialog[open]"), { childList: true, subtree: true, characterData: true });
  });
}

export const terminations = {
  /** Many sessions are terminated with one reason. The dialog lists them and shows each outcome; one user leaves before. */
  async many() {
    const [page, other] = [await openSignedInPage(), await openSignedInPage()];
    const [stays, leaves, ...chosen] = (await askTest("open 22")).split(" ");
    await expectConsistent(page, other);
    for (const name of [leaves, ...chosen]) await row(page, name).getByRole("checkbox").check();
    await page.getByText("21 selected").waitFor();
    await page.getByRole("button", { name: "End…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("heading", { name: "End 21 sessions?" }).waitFor();
    const items = dialog.locator("[data-terminating]");
    assert.deepEqual((await items.evaluateAll((all) => all.map((it) => it.dataset.terminating))).sort(), [leaves, ...chosen].sort());
    for (const text of await items.allInnerTexts()) assert.match(text, /^alice → \S+@web-1/);
    await recordOutcomes(page);

    await askTest(`exit ${leaves}`);
    await dialog.getByRole("button", { name: "End 20 sessions" }).waitFor();
    await dialog.getByLabel("Reason").fill("the keys are changed at noon");
    await screenshot(page, "many-asked");
    await dialog.getByRole("button", { name: CONFIRM_BUTTON }).click();
    await dialog.getByRole("heading", { name: "21 of 21 ended" }).waitFor();
    await screenshot(page, "many-ended");
    const outcomes = await page.evaluate(() => globalThis.outcomes);
    assert.deepEqual(outcomes, Object.fromEntries([[leaves, ["", "Ended"]], ...chosen.map((name) => [name, ["", "Ending…", "Ended"]])]));
    await dialog.getByRole("button", { name: "Close" }).click();

    const who = (await page.locator(".current-user").getAttribute("title")).split("\n")[0];
    for (const shown of [page, other]) {
      await endedItem(shown, leaves).getByText("The user left").waitFor();
      for (const name of chosen) await endedItem(shown, name).filter({ hasText: "Ended by an administrator" }).getByText(`by ${who}`).waitFor();
    }
    assertEndReason("UserExit", [leaves]);
    assertEndReason("AdminTerminated", chosen);
    for (const { spec } of clusterSessions(chosen)) {
      assert.deepEqual(spec.termination, { reason: "the keys are changed at noon", requestedBy: who, via: "Console" });
    }
    await expectConsistent(page, other);
    await page.reload();
    await expectCount(page, 1);
    await expectConsistent(page, other);
    await askTest(`answers ${stays}`);
  },

  /** An admission policy protects one of two sessions. The dialog says that it was not ended, and it goes on. */
  async refused() {
    const page = await openSignedInPage();
    const [kept, goes] = (await askTest("open 2")).split(" ");
    await askTest(`keep ${kept}`);
    for (const name of [kept, goes]) await row(page, name).getByRole("checkbox").check();
    await page.getByRole("button", { name: "End…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: CONFIRM_BUTTON }).click();
    await dialog.getByRole("heading", { name: "1 of 2 ended" }).waitFor();
    await dialog.locator(`[data-terminating="${goes}"]`).getByText("Ended", { exact: true }).waitFor();
    const outcome = dialog.locator(`[data-terminating="${kept}"]`).getByText("Not ended:");
    await outcome.filter({ hasText: "this session is kept for the auditors" }).waitFor();
    await screenshot(page, "refused");
    await dialog.getByRole("button", { name: "Close" }).click();
    await row(page, kept).waitFor();
    await expectConsistent(page);
    assertEndReason("AdminTerminated", [goes]);
    const [{ spec, status }] = clusterSessions([kept]);
    assert.deepEqual([spec.termination, status.phase], [undefined, "Active"]);
    await askTest(`answers ${kept}`);
  },
};
