// The harness of the scenarios: the browser, signed-in pages, the sessions in the cluster, and requests to the Rust test.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createInterface } from "node:readline";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const { TOKEN, KUBECTL, KUBECONFIG, NAMESPACE, SCREENSHOT_DIR } = process.env;
export const { CONSOLE_URL } = process.env;
/** The bound of a wait without a bound of its own, in milliseconds. The tests raise it on a busy machine. */
export const WAIT_TIMEOUT_MS = Number(process.env.PATIENCE_MS ?? 30_000);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Asks the Rust test to do something outside the browser, and returns its answer. */
export async function askTest(word) {
  console.log(`@${word}`);
  return (await lines.next()).value;
}

function kubectl(...rest) {
  const options = { env: { ...process.env, KUBECONFIG }, maxBuffer: 64 * 1024 * 1024 };
  return execFileSync(KUBECTL, ["-n", NAMESPACE, "get", "bastionsessions", ...rest], options).toString();
}

/** Returns the names of the sessions that are Active in the cluster. */
export function activeSessions() {
  return kubectl("--field-selector", "status.phase=Active", "-o", "name").split("\n").filter(Boolean).map((name) => name.split("/")[1]).sort();
}

/** Returns the objects of some sessions. */
export function clusterSessions(chosen) {
  return JSON.parse(kubectl("-o", "json")).items.filter((it) => chosen.includes(it.metadata.name));
}

/** Asserts that each session has ended in the cluster for this reason. */
export function assertEndReason(reason, chosen) {
  const ends = clusterSessions(chosen).map(({ metadata, status }) => [metadata.name, status?.reason]);
  assert.deepEqual(ends.sort(), chosen.map((name) => [name, reason]).sort());
}

export const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });

/** Opens a page and signs in. An error or a violation of the Content-Security-Policy in the page fails the scenario. */
export async function openSignedInPage(options = {}, url = CONSOLE_URL) {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1440, height: 900 }, ...options });
  context.setDefaultTimeout(WAIT_TIMEOUT_MS);
  const page = await context.newPage();
  page.on("pageerror", (error) => fail(error));
  page.on("console", (message) => {
    if (message.text().includes("Content Security Policy")) fail(new Error(message.text()));
  });
  await page.goto(url);
  await signIn(page);
  await expectLive(page);
  return page;
}

/** Signs in with the token. */
export async function signIn(page) {
  await page.getByLabel(/Token|令牌/).fill(TOKEN);
  await page.getByRole("button", { name: /Sign in|登录/ }).click();
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

/** Waits until the page shows that it is live. */
export const expectLive = (page) => page.getByRole("status").filter({ hasText: /^(Live|实时)$/ }).waitFor();

/** Waits until the page shows that its data is out of date. */
export async function expectStale(page) {
  await page.getByRole("status").filter({ hasText: "Reconnecting" }).waitFor();
  await page.locator(".grid.dim").getByRole("grid").waitFor();
}

export const rows = (page) => page.locator(".rows [data-name]");
export const row = (page, name) => page.locator(`.rows [data-name="${name}"]`);
export const endedItem = (page, name) => page.locator(`[data-ended="${name}"]`);
/** Returns the sorted names of the rendered rows. Rows of ended sessions have no name. */
export const rowNames = async (page) => (await rows(page).evaluateAll((found) => found.map((it) => it.dataset.name))).sort();

export async function expectCount(page, number, options = {}) {
  await page.getByTestId("count").filter({ hasText: new RegExp(`^${number}$`) }).waitFor(options);
}

/** The label of the button that confirms a termination. */
export const CONFIRM_BUTTON = /^End (it|\d+ sessions)$/;

/** Waits until the pages show exactly the sessions of the cluster. */
export async function expectConsistent(...pages) {
  const expected = activeSessions();
  for (const page of pages) {
    await expectCount(page, expected.length);
    await waitForRows(page, expected);
  }
}

/** Waits until the rows are these. While the list is in use, new sessions appear after a delay. */
async function waitForRows(page, expected) {
  for (const end = Date.now() + 10_000; Date.now() < end && String(await rowNames(page)) !== String(expected); ) await page.waitForTimeout(100);
  assert.deepEqual(await rowNames(page), expected);
}

/** Asserts that the page has no serious or critical violations of accessibility rules. */
export async function expectAccessible(page, message) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], message);
}

/** Saves a screenshot if SCREENSHOT_DIR is set. */
export async function screenshot(page, name) {
  if (SCREENSHOT_DIR) await page.screenshot({ path: `${SCREENSHOT_DIR}/${name}.png` });
}

/** Terminates sessions from the list, and waits until they have ended. */
export async function terminate(page, chosen, reason, shown = "Ended by an administrator") {
  for (const name of chosen) await row(page, name).getByRole("checkbox").check();
  await page.getByRole("button", { name: "End…" }).click();
  const dialog = page.getByRole("dialog");
  assert.equal(await dialog.getByRole("listitem").count(), chosen.length);
  await dialog.getByLabel("Reason").fill(reason);
  await screenshot(page, "terminate");
  await dialog.getByRole("button", { name: CONFIRM_BUTTON }).click();
  for (const name of chosen) {
    await row(page, name).waitFor({ state: "detached" });
    await endedItem(page, name).getByText(shown).waitFor();
  }
  await dialog.getByRole("button", { name: "Close" }).click();
}
