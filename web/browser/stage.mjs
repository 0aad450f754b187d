// What scenes stand on: a real browser, pages of somebody who has signed in, what the cluster has, and what is done outside.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const { TOKEN, KUBECTL, KUBECONFIG, NAMESPACE, PICTURES } = process.env;
export const { CONSOLE_URL } = process.env;
/** How long to wait for what must happen at whatever speed, in milliseconds. The tests grow it on a busy machine. */
export const PATIENCE = Number(process.env.PATIENCE_MS ?? 30_000);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has something done outside the browser, and returns what is said of it. */
export async function ask(word) {
  console.log(`@${word}`);
  return (await lines.next()).value;
}

function kubectl(...rest) {
  const options = { env: { ...process.env, KUBECONFIG }, maxBuffer: 64 * 1024 * 1024 };
  return execFileSync(KUBECTL, ["-n", NAMESPACE, "get", "bastionsessions", ...rest], options).toString();
}

/** The names of the sessions that are Active in the cluster. */
export function online() {
  return kubectl("--field-selector", "status.phase=Active", "-o", "name").split("\n").filter(Boolean).map((name) => name.split("/")[1]).sort();
}

/** These sessions as the cluster has them. */
export function inCluster(chosen) {
  return JSON.parse(kubectl("-o", "json")).items.filter((it) => chosen.includes(it.metadata.name));
}

/** In the cluster each of these has ended for this reason. */
export function endedAs(reason, chosen) {
  const ends = inCluster(chosen).map(({ metadata, status }) => [metadata.name, status?.reason]);
  assert.deepEqual(ends.sort(), chosen.map((name) => [name, reason]).sort());
}

export const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });

/** A page of somebody who has signed in. Whatever goes wrong in it fails the scene. */
export async function signedIn(options = {}, url = CONSOLE_URL) {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1440, height: 900 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("pageerror", (error) => fail(error));
  page.on("console", (said) => {
    if (said.text().includes("Content Security Policy")) fail(new Error(said.text()));
  });
  await page.goto(url);
  await signIn(page);
  await live(page);
  return page;
}

export async function signIn(page) {
  await page.getByLabel(/Token|令牌/).fill(TOKEN);
  await page.getByRole("button", { name: /Sign in|登录/ }).click();
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

/** The page says that what it shows is so. */
export const live = (page) => page.getByRole("status").filter({ hasText: /^(Live|实时)$/ }).waitFor();

/** The page says that what it shows is old. */
export async function old(page) {
  await page.getByRole("status").filter({ hasText: "Reconnecting" }).waitFor();
  await page.locator(".grid.dim").getByRole("grid").waitFor();
}

export const rows = (page) => page.locator(".rows [data-name]");
export const row = (page, name) => page.locator(`.rows [data-name="${name}"]`);
export const ended = (page, name) => page.locator(`[data-ended="${name}"]`);
/** The names of the rows that are drawn; where a session was there is a row without one. */
export const names = async (page) => (await rows(page).evaluateAll((found) => found.map((it) => it.dataset.name))).sort();

export async function count(page, number, options = {}) {
  await page.getByTestId("count").filter({ hasText: new RegExp(`^${number}$`) }).waitFor(options);
}

/** The button that ends one session, or several. */
export const CONFIRM = /^End (it|\d+ sessions)$/;

/** The pages agree with each other and with kubectl. */
export async function agree(...pages) {
  const truth = online();
  for (const page of pages) {
    await count(page, truth.length);
    await shows(page, truth);
  }
}

/** What has come while somebody worked in the list is shown a moment later. */
async function shows(page, truth) {
  for (const end = Date.now() + 10_000; Date.now() < end && String(await names(page)) !== String(truth); ) await page.waitForTimeout(100);
  assert.deepEqual(await names(page), truth);
}

export async function picture(page, name) {
  if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png` });
}

export async function terminate(page, chosen, reason, shown = "Ended by an administrator") {
  for (const name of chosen) await row(page, name).getByRole("checkbox").check();
  await page.getByRole("button", { name: "End…" }).click();
  const dialog = page.getByRole("dialog");
  assert.equal(await dialog.getByRole("listitem").count(), chosen.length);
  await dialog.getByLabel("Reason").fill(reason);
  await picture(page, "terminate");
  await dialog.getByRole("button", { name: CONFIRM }).click();
  for (const name of chosen) {
    await row(page, name).waitFor({ state: "detached" });
    await ended(page, name).getByText(shown).waitFor();
  }
  await dialog.getByRole("button", { name: "Close" }).click();
}
