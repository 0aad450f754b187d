// Scenarios in which something fails: a gateway, the API server, a network, a console.

import assert from "node:assert/strict";
import {
  activeSessions, askTest, assertEndReason, clusterSessions, CONFIRM_BUTTON, CONSOLE_URL, endedItem, expectConsistent,
  expectCount, expectLive, expectStale, openSignedInPage, row, screenshot, WAIT_TIMEOUT_MS,
} from "./harness.mjs";

/** The page must show the loss of a gateway or a network within this time. */
const LOSS_TIMEOUT_MS = 30_000;

/** Records from now on each list of rows that the page shows as live. */
async function recordLiveRows(page) {
  await page.evaluate(() => {
    globalThis.liveRows = [];
    const look = () => {
      if (document.querySelector(".live-indicator.live") === null) return;
      const names = [...document.querySelectorAll(".rows [data-name]")].map((it) => it.dataset.name).sort();
      if (String(globalThis.liveRows.at(-1)) !== String(names)) globalThis.liveRows.push(names);
    };
    look();
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, attributes: true });
  });
}
const liveRows = (page) => page.evaluate(() => globalThis.liveRows);

/** The current sessions of the cluster are the only list that the page has shown as live. */
async function assertOnlyCurrentLive(page) {
  assert.deepEqual(await liveRows(page), [activeSessions()]);
}

/** A termination fails, and the page says so. */
async function expectFailedTermination(page, name) {
  await row(page, name).getByRole("checkbox").check();
  await page.getByRole("button", { name: "End…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: CONFIRM_BUTTON }).click();
  await dialog.getByText("Not ended:").waitFor();
  await screenshot(page, "api-away-end");
  await dialog.getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "Clear the selection" }).click();
}

export const outages = {
  /** A gateway with 200 sessions is killed. Their rows disappear; the row of the other gateway's session stays. */
  async gateway() {
    const pages = [await openSignedInPage(), await openSignedInPage()];
    const stays = await askTest("open 200");
    for (const page of pages) {
      await page.goto(`${CONSOLE_URL}/?size=1000`);
      await page.getByTestId("range").filter({ hasText: "1–201 of 201" }).waitFor();
      await expectLive(page);
    }
    const lost = activeSessions().filter((name) => name !== stays);
    assert.equal(lost.length, 200);
    await screenshot(pages[0], "gateway-before");
    const killed = Number(await askTest("kill gateway"));
    await Promise.all(pages.map((page) => expectCount(page, 1, { timeout: LOSS_TIMEOUT_MS + WAIT_TIMEOUT_MS })));
    await askTest(`took ${Date.now() - killed}`);
    await screenshot(pages[0], "gateway-after");
    await expectConsistent(...pages);
    assert.deepEqual(activeSessions(), [stays]);
    assertEndReason("GatewayLost", lost);
    for (const page of pages) {
      const ends = await page.locator("[data-ended]").evaluateAll((all) => all.map((it) => [it.dataset.ended, it.innerText]));
      assert.ok(ends.length === 50 && ends.every(([name, text]) => lost.includes(name) && text.includes("The gateway was lost")), String(ends));
    }
    await askTest(`answers ${stays}`);

    await askTest("recorded 200");
    const [page] = pages;
    await page.goto(`${CONSOLE_URL}/history?reason=GatewayLost&size=1000`);
    await page.getByText("200 records on this page").waitFor();
    const reasons = await page.locator('tbody [data-column="reason"]').allInnerTexts();
    assert.ok(reasons.length === 200 && reasons.every((it) => it === "The gateway was lost"), String(reasons));
    await screenshot(page, "history");
    await page.goto(`${CONSOLE_URL}/overview`);
    await page.getByText("The gateway was lost").first().waitFor();
    await screenshot(page, "overview");
    await page.goto(`${CONSOLE_URL}/targets`);
    await page.getByText("web-1").first().waitFor();
    await screenshot(page, "targets");
  },

  /** The API server stops and starts. Meanwhile the pages show nothing as live; afterwards they recover by themselves. */
  async api() {
    const pages = [await openSignedInPage(), await openSignedInPage()];
    const loaded = await openSignedInPage();
    const [left, stays] = (await askTest("open 2")).split(" ");
    await expectConsistent(...pages, loaded);
    await askTest("stop api");
    for (const page of pages) {
      await expectStale(page);
      await recordLiveRows(page);
    }
    await askTest(`leave ${left}`);
    await loaded.reload();
    await loaded.getByRole("alert").filter({ hasText: "The console does not answer" }).waitFor();
    await expectFailedTermination(pages[1], stays);
    await askTest("pause");
    for (const page of pages) {
      assert.deepEqual(await liveRows(page), []);
      await expectStale(page);
    }
    await screenshot(pages[0], "api-away");
    await screenshot(loaded, "api-away-loaded");
    await askTest("start api");
    for (const page of pages) {
      await expectLive(page);
      await row(page, left).waitFor({ state: "detached" });
      await endedItem(page, left).waitFor();
    }
    await expectLive(loaded);
    await screenshot(pages[0], "api-back");
    assertEndReason("UserExit", [left]);
    await expectConsistent(...pages, loaded);
    const [{ metadata, spec }] = clusterSessions(activeSessions());
    assert.deepEqual([metadata.name, spec.termination], [stays, undefined]);
    await askTest(`answers ${stays}`);
  },

  /** A console is cut off from the cluster. Afterwards its page shows only the current sessions as live. */
  async apart() {
    const page = await openSignedInPage();
    const [left, stays] = (await askTest("open 2")).split(" ");
    await expectConsistent(page);
    const detail = await openSignedInPage();
    await detail.goto(`${CONSOLE_URL}/sessions/${left}`);
    await detail.getByTestId("status").getByText("active").waitFor();
    await askTest("cut");
    await expectStale(page);
    await detail.getByRole("status").filter({ hasText: "Reconnecting" }).waitFor();
    await recordLiveRows(page);
    await askTest(`exit ${left}`);
    await askTest(`ended ${left} UserExit`);
    const next = (await askTest("open 1")).split(" ").at(-1);
    assert.deepEqual(activeSessions(), [stays, next].sort());
    assert.deepEqual(await liveRows(page), []);
    await row(page, left).waitFor();
    await askTest("heal");
    await expectLive(page);
    await expectConsistent(page);
    await endedItem(page, left).getByText("Ended unseen").waitFor();
    await assertOnlyCurrentLive(page);
    await detail.getByTestId("status").getByText("closed: The user left").waitFor();
    await expectLive(detail);
  },

  /** A user's network drops all packets. The row of that user disappears, and no other. */
  async network() {
    const pages = [await openSignedInPage(), await openSignedInPage()];
    const [far, near] = (await askTest("open")).split(" ");
    await expectConsistent(...pages);
    const cut = Number(await askTest("cut"));
    await Promise.all(pages.map((page) => row(page, far).waitFor({ state: "detached", timeout: cut + LOSS_TIMEOUT_MS - Date.now() })));
    await askTest(`took ${Date.now() - cut}`);
    for (const page of pages) await endedItem(page, far).getByText("The network was lost").waitFor();
    assertEndReason("NetworkLost", [far]);
    assert.deepEqual(activeSessions(), [near]);
    await expectConsistent(...pages);
    await pages[0].reload();
    await expectLive(pages[0]);
    await expectConsistent(...pages);
    await askTest(`answers ${near}`);
  },

  /** One of two consoles is killed. Its page says so and the other goes on; after a restart both pages agree. */
  async replicas() {
    const [one, two] = [await openSignedInPage(), await openSignedInPage({}, await askTest("other"))];
    const [left, stays] = (await askTest("open 2")).split(" ");
    await expectConsistent(one, two);
    await askTest("stop console");
    await expectStale(one);
    await recordLiveRows(one);
    await recordLiveRows(two);
    await askTest(`exit ${left}`);
    await endedItem(two, left).getByText("The user left").waitFor();
    await expectConsistent(two);
    const next = (await askTest("open 1")).split(" ").at(-1);
    await row(two, next).waitFor();
    await expectConsistent(two);
    assert.deepEqual(await liveRows(two), [[left, stays].sort(), [stays], [stays, next].sort()]);
    assert.deepEqual(await liveRows(one), []);
    await row(one, left).waitFor();
    await screenshot(one, "replica-gone");
    await askTest("start console");
    await expectLive(one);
    await expectConsistent(one, two);
    await endedItem(one, left).getByText("Ended unseen").waitFor();
    await assertOnlyCurrentLive(one);
  },
};
