// Scenarios in which a permission or a sign-in is revoked while the page is open.

import assert from "node:assert/strict";
import {
  activeSessions, askTest, endedItem, expectConsistent, expectCount, expectLive,
  openSignedInPage, row, rows, screenshot, signIn,
} from "./harness.mjs";

/** The console checks a page's permissions at intervals; the timeout covers one interval and an answer. */
const RECHECK = { timeout: 20_000 };

/** The page shows only the sign-in form, by itself, and a new sign-in works. */
async function expectExpiredSignIn(page, name) {
  await page.getByText("Your sign-in has expired").waitFor({ timeout: 40_000 });
  assert.equal(await rows(page).count(), 0);
  await screenshot(page, "over");
  await signIn(page);
  await expectLive(page);
  await expectConsistent(page);
  assert.deepEqual(activeSessions(), [name]);
  await askTest(`answers ${name}`);
}

/** The page shows no sessions of other users, and does not list them as ended. */
async function expectNoOthers(page, name) {
  await row(page, name).waitFor({ state: "detached", ...RECHECK });
  await page.getByText("You see only your own sessions").filter({ hasText: "may not list bastionsessions" }).waitFor();
  await expectCount(page, 0);
  assert.equal(await endedItem(page, name).count(), 0);
  assert.deepEqual(activeSessions(), [name]);
  await askTest(`answers ${name}`);
}

export const permissions = {
  /** The permission to list all sessions is revoked and granted again. */
  async withdrawn() {
    const page = await openSignedInPage();
    const [name] = (await askTest("open 1")).split(" ");
    await expectConsistent(page);
    await askTest("withdraw");
    await expectNoOthers(page, name);
    await screenshot(page, "withdrawn");
    await page.reload();
    await expectLive(page);
    await expectNoOthers(page, name);
    await askTest("grant");
    await row(page, name).waitFor(RECHECK);
    await page.getByText("You see only your own sessions").waitFor({ state: "detached" });
    await expectConsistent(page);
  },

  /** A revoked token allows no new sign-in. A signed-in user stays signed in, with their current permissions. */
  async revoked() {
    const page = await openSignedInPage();
    const [name] = (await askTest("open 1")).split(" ");
    await askTest("revoke");
    await page.reload();
    await expectLive(page);
    await expectConsistent(page);
    await askTest("withdraw");
    await expectNoOthers(page, name);
    await page.getByRole("button", { name: "Sign out" }).click();
    await signIn(page);
    await page.getByText("the cluster does not know this token").waitFor();
    assert.equal(await rows(page).count(), 0);
  },

  /** The key of the cookies is replaced. */
  async rekeyed() {
    const page = await openSignedInPage();
    const [name] = (await askTest("open 1")).split(" ");
    await row(page, name).waitFor();
    await askTest("another key");
    await expectExpiredSignIn(page, name);
  },

  /** A sign-in expires after some seconds. */
  async expires() {
    const page = await openSignedInPage();
    const [name] = (await askTest("open 1")).split(" ");
    const [given] = await page.context().cookies();
    await page.context().addCookies([{ ...given, value: await askTest("cookie") }]);
    await page.reload();
    await expectLive(page);
    await row(page, name).waitFor();
    await expectExpiredSignIn(page, name);
  },
};
