// What is lost: a gateway, the API server, a network, a console.

import assert from "node:assert/strict";
import {
  agree, ask, CONFIRM, CONSOLE_URL, count, ended, endedAs, inCluster, live, old, online, picture, row, signedIn,
} from "./stage.mjs";

/** Within this time the loss of a gateway or of a network is shown. */
const LOST = 30_000;

/** From now on, what the page shows and calls live: the rows' names, one list after the other. */
async function noteLive(page) {
  await page.evaluate(() => {
    globalThis.shownLive = [];
    const look = () => {
      if (document.querySelector(".mark.live") === null) return;
      const names = [...document.querySelectorAll(".rows [data-name]")].map((it) => it.dataset.name).sort();
      if (String(globalThis.shownLive.at(-1)) !== String(names)) globalThis.shownLive.push(names);
    };
    look();
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, attributes: true });
  });
}
const shownLive = (page) => page.evaluate(() => globalThis.shownLive);

/** What the cluster has by now is all that the page has shown as live. */
async function nothingElseLive(page) {
  assert.deepEqual(await shownLive(page), [online()]);
}

/** Nobody's end can be asked for, and that is said. */
async function endsNothing(page, name) {
  await row(page, name).getByRole("checkbox").check();
  await page.getByRole("button", { name: "End…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: CONFIRM }).click();
  await dialog.getByText("Not ended:").waitFor();
  await picture(page, "api-away-end");
  await dialog.getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "Clear the selection" }).click();
}

export const losses = {
  /** A gateway is killed that carries two hundred: their rows go by themselves, and the other gateway's stays. */
  async gateway() {
    const pages = [await signedIn(), await signedIn()];
    const stays = await ask("open 200");
    for (const page of pages) {
      await page.goto(`${CONSOLE_URL}/?size=1000`);
      await page.getByTestId("range").filter({ hasText: "1–201 of 201" }).waitFor();
      await live(page);
    }
    const lost = online().filter((name) => name !== stays);
    assert.equal(lost.length, 200);
    await picture(pages[0], "gateway-before");
    const killed = Number(await ask("kill gateway"));
    await Promise.all(pages.map((page) => count(page, 1, { timeout: 2 * LOST })));
    await ask(`took ${Date.now() - killed}`);
    await picture(pages[0], "gateway-after");
    await agree(...pages);
    assert.deepEqual(online(), [stays]);
    endedAs("GatewayLost", lost);
    for (const page of pages) {
      const ends = await page.locator("[data-ended]").evaluateAll((all) => all.map((it) => [it.dataset.ended, it.innerText]));
      assert.ok(ends.length === 50 && ends.every(([name, text]) => lost.includes(name) && text.includes("The gateway was lost")), String(ends));
    }
    await ask(`answers ${stays}`);

    await ask("recorded 200");
    const [page] = pages;
    await page.goto(`${CONSOLE_URL}/history?reason=GatewayLost&size=1000`);
    await page.getByText("200 records on this page").waitFor();
    const reasons = await page.locator('tbody [data-column="reason"]').allInnerTexts();
    assert.ok(reasons.length === 200 && reasons.every((it) => it === "The gateway was lost"), String(reasons));
    await picture(page, "history");
    await page.goto(`${CONSOLE_URL}/overview`);
    await page.getByText("The gateway was lost").first().waitFor();
    await picture(page, "overview");
    await page.goto(`${CONSOLE_URL}/targets`);
    await page.getByText("web-1").first().waitFor();
    await picture(page, "targets");
  },

  /** The API server goes and comes: the pages call nothing live meanwhile, and then show by themselves what is so. */
  async api() {
    const pages = [await signedIn(), await signedIn()];
    const loaded = await signedIn();
    const [left, stays] = (await ask("open 2")).split(" ");
    await agree(...pages, loaded);
    await ask("stop api");
    for (const page of pages) {
      await old(page);
      await noteLive(page);
    }
    await ask(`leave ${left}`);
    await loaded.reload();
    await loaded.getByRole("alert").filter({ hasText: "The console does not answer" }).waitFor();
    await endsNothing(pages[1], stays);
    await ask("pause");
    for (const page of pages) {
      assert.deepEqual(await shownLive(page), []);
      await old(page);
    }
    await picture(pages[0], "api-away");
    await picture(loaded, "api-away-loaded");
    await ask("start api");
    for (const page of pages) {
      await live(page);
      await row(page, left).waitFor({ state: "detached" });
      await ended(page, left).waitFor();
    }
    await live(loaded);
    await picture(pages[0], "api-back");
    endedAs("UserExit", [left]);
    await agree(...pages, loaded);
    const [{ metadata, spec }] = inCluster(online());
    assert.deepEqual([metadata.name, spec.termination], [stays, undefined]);
    await ask(`answers ${stays}`);
  },

  /** A console is cut off from the cluster: what has happened there meanwhile is all that its page then calls live. */
  async apart() {
    const page = await signedIn();
    const [left, stays] = (await ask("open 2")).split(" ");
    await agree(page);
    const detail = await signedIn();
    await detail.goto(`${CONSOLE_URL}/sessions/${left}`);
    await detail.getByTestId("status").getByText("active").waitFor();
    await ask("cut");
    await old(page);
    await detail.getByRole("status").filter({ hasText: "Reconnecting" }).waitFor();
    await noteLive(page);
    await ask(`exit ${left}`);
    await ask(`ended ${left} UserExit`);
    const next = (await ask("open 1")).split(" ").at(-1);
    assert.deepEqual(online(), [stays, next].sort());
    assert.deepEqual(await shownLive(page), []);
    await row(page, left).waitFor();
    await ask("heal");
    await live(page);
    await agree(page);
    await ended(page, left).getByText("Ended unseen").waitFor();
    await nothingElseLive(page);
    await detail.getByTestId("status").getByText("closed: The user left").waitFor();
    await live(detail);
  },

  /** A user's network falls silent: their row goes, and nobody else's. */
  async network() {
    const pages = [await signedIn(), await signedIn()];
    const [far, near] = (await ask("open")).split(" ");
    await agree(...pages);
    const cut = Number(await ask("cut"));
    await Promise.all(pages.map((page) => row(page, far).waitFor({ state: "detached", timeout: cut + LOST - Date.now() })));
    await ask(`took ${Date.now() - cut}`);
    for (const page of pages) await ended(page, far).getByText("The network was lost").waitFor();
    endedAs("NetworkLost", [far]);
    assert.deepEqual(online(), [near]);
    await agree(...pages);
    await pages[0].reload();
    await live(pages[0]);
    await agree(...pages);
    await ask(`answers ${near}`);
  },

  /** Of two consoles one is killed: its page says so, the other's goes on; at the same address there is another, and both agree. */
  async replicas() {
    const [one, two] = [await signedIn(), await signedIn({}, await ask("other"))];
    const [left, stays] = (await ask("open 2")).split(" ");
    await agree(one, two);
    await ask("stop console");
    await old(one);
    await noteLive(one);
    await noteLive(two);
    await ask(`exit ${left}`);
    await ended(two, left).getByText("The user left").waitFor();
    await agree(two);
    const next = (await ask("open 1")).split(" ").at(-1);
    await row(two, next).waitFor();
    await agree(two);
    assert.deepEqual(await shownLive(two), [[left, stays].sort(), [stays], [stays, next].sort()]);
    assert.deepEqual(await shownLive(one), []);
    await row(one, left).waitFor();
    await picture(one, "replica-gone");
    await ask("start console");
    await live(one);
    await agree(one, two);
    await ended(one, left).getByText("Ended unseen").waitFor();
    await nothingElseLive(one);
  },
};
