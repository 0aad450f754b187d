// What somebody sees whose right or sign-in is taken back while their page is open.

import assert from "node:assert/strict";
import { agree, ask, count, ended, live, online, picture, row, rows, signedIn, signIn } from "./stage.mjs";

/** From one look of the console at a page's rights to the next, and what an answer takes. */
const SOON = { timeout: 20_000 };

/** The page shows nothing but the way in, by itself, and lets in whom the cluster knows. */
async function isOver(page, name) {
  await page.getByText("Your sign-in has expired").waitFor({ timeout: 40_000 });
  assert.equal(await rows(page).count(), 0);
  await picture(page, "over");
  await signIn(page);
  await live(page);
  await agree(page);
  assert.deepEqual(online(), [name]);
  await ask(`answers ${name}`);
}

/** The page shows nothing of others, and does not say either that they have ended. */
async function showsNoOthers(page, name) {
  await row(page, name).waitFor({ state: "detached", ...SOON });
  await page.getByText("You see only your own sessions").filter({ hasText: "may not list bastionsessions" }).waitFor();
  await count(page, 0);
  assert.equal(await ended(page, name).count(), 0);
  assert.deepEqual(online(), [name]);
  await ask(`answers ${name}`);
}

export const rights = {
  /** The right to see others is taken back, and given again. */
  async withdrawn() {
    const page = await signedIn();
    const [name] = (await ask("open 1")).split(" ");
    await agree(page);
    await ask("withdraw");
    await showsNoOthers(page, name);
    await picture(page, "withdrawn");
    await page.reload();
    await live(page);
    await showsNoOthers(page, name);
    await ask("grant");
    await row(page, name).waitFor(SOON);
    await page.getByText("You see only your own sessions").waitFor({ state: "detached" });
    await agree(page);
  },

  /** A token that is revoked lets nobody in again; who is in stays in, and sees what they may. */
  async revoked() {
    const page = await signedIn();
    const [name] = (await ask("open 1")).split(" ");
    await ask("revoke");
    await page.reload();
    await live(page);
    await agree(page);
    await ask("withdraw");
    await showsNoOthers(page, name);
    await page.getByRole("button", { name: "Sign out" }).click();
    await signIn(page);
    await page.getByText("the cluster does not know this token").waitFor();
    assert.equal(await rows(page).count(), 0);
  },

  /** What seals cookies is another key from one moment to the next. */
  async rekeyed() {
    const page = await signedIn();
    const [name] = (await ask("open 1")).split(" ");
    await row(page, name).waitFor();
    await ask("another key");
    await isOver(page, name);
  },

  /** A sign-in lasts some seconds. */
  async expires() {
    const page = await signedIn();
    const [name] = (await ask("open 1")).split(" ");
    const [given] = await page.context().cookies();
    await page.context().addCookies([{ ...given, value: await ask("cookie") }]);
    await page.reload();
    await live(page);
    await row(page, name).waitFor();
    await isOver(page, name);
  },
};
