// Tests of the page in a real browser, one scenario per run. The tests in e2e/tests/e2e/browser/ start a bastion, a console and a scenario.
// A line `@word` on standard output asks the test for something; a line on standard input is the answer.

import assert from "node:assert/strict";
import { terminations } from "./terminations.mjs";
import { outages } from "./outages.mjs";
import { permissions } from "./permissions.mjs";
import { terminals } from "./terminals.mjs";
import {
  askTest, browser, CONFIRM_BUTTON, CONSOLE_URL, endedItem, expectAccessible, expectConsistent, expectCount, expectLive, expectStale, openSignedInPage, row, rowNames,
  rows, screenshot, terminate,
} from "./harness.mjs";

const scenarios = {
  ...outages,
  ...permissions,
  ...terminals,
  ...terminations,

  /** Two pages show sessions start and end by exit, killed client and termination. A reload shows the same. */
  async sessions() {
    const [one, two] = [await openSignedInPage(), await openSignedInPage()];
    await one.getByText("Nobody is online", { exact: true }).waitFor();
    const [left, killed, first, second, stays] = (await askTest("open 5")).split(" ");
    await expectConsistent(one, two);
    await screenshot(one, "sessions");

    await askTest(`exit ${left}`);
    await row(one, left).waitFor({ state: "detached" });
    await endedItem(one, left).getByText("The user left").waitFor();
    await expectConsistent(one, two);
    await askTest(`kill ${killed}`);
    await endedItem(two, killed).getByText("The client's connection broke").waitFor();
    await expectConsistent(one, two);
    await terminate(one, [first, second], "maintenance at noon");
    await expectConsistent(one, two);
    await one.reload();
    await row(one, stays).waitFor();
    await expectConsistent(one, two);
    await askTest(`answers ${stays}`);
    await screenshot(two, "ended");

    await endedItem(one, left).waitFor({ state: "detached" });
    await row(one, stays).getByRole("link").click();
    await one.getByRole("heading", { name: stays }).waitFor();
    await one.getByTestId("status").getByText("active").waitFor();
    await one.getByRole("listitem").filter({ hasText: "Session began alice signed in to web-1" }).waitFor();
    await screenshot(one, "session");
    await askTest(`exit ${stays}`);
    await one.getByTestId("status").getByText("closed: The user left").waitFor();

    const shown = await endedItem(two, left).innerText();
    const delay = /shown after ([\d.]+) (ms|s)/.exec(shown);
    assert.ok(delay && delay[2] === "ms" && Number(delay[1]) < 500, shown);
  },

  /** A shell in the page answers. An exit, a termination and a closed tab each end the session; Enter starts a new one. */
  async terminal() {
    const [list, other] = [await openSignedInPage(), await openSignedInPage()];
    const page = await openSignedInPage();
    await page.goto(`${CONSOLE_URL}/targets`);
    await page.getByRole("link", { name: "Connect to web-1" }).click();
    const shows = (text) => page.locator(".xterm-rows").getByText(text).first().waitFor();
    const state = (text) => page.getByTestId("state").filter({ hasText: text }).waitFor();
    const session = async () => {
      await state(/^Live$/);
      await answers();
      return await page.locator(".shell-session").innerText();
    };
    const answers = async () => {
      await page.keyboard.type("clear; echo answer $((6 * 7))\n");
      await shows("answer 42");
    };
    const first = await session();
    await row(list, first).waitFor();
    await expectConsistent(list);
    await screenshot(page, "terminal");
    await page.keyboard.type("exit 3\n");
    await state("The user left");
    await shows("exit status 3");
    await askTest(`ended ${first} UserExit`);
    await endedItem(list, first).getByText("The user left").waitFor();

    await page.keyboard.press("Enter");
    const second = await session();
    assert.notEqual(second, first);
    await terminate(list, [second], "enough of it", "Ended by its own user");
    await state("Ended by its own user");
    await shows("enough of it");
    await askTest(`ended ${second} ApiClosed`);

    await page.keyboard.press("Enter");
    const third = await session();
    page.once("dialog", (dialog) => void dialog.accept());
    await page.reload();
    await askTest(`ended ${third} TabClosed`);
    await endedItem(list, third).getByText("The user closed the tab").waitFor();
    const fourth = await session();
    await expectConsistent(list, other);
    await askTest("stop console");
    await answers();
    await askTest("start console");
    await answers();
    await expectAccessible(page);
    await page.close();
    await askTest(`ended ${fourth} TabClosed`);
    await expectCount(list, 0);
    await expectConsistent(list, other);
  },

  /** A recording plays to its end, and from the match of a search. */
  async playback() {
    const page = await openSignedInPage();
    const name = await askTest("recorded");
    await page.goto(`${CONSOLE_URL}/sessions/${name}`);
    await page.getByRole("link", { name: /^Play the recording/ }).click();
    const shows = (text) => page.locator(".xterm-rows").getByText(text).first().waitFor();
    await shows("a needle in a haystack");
    await page.getByTestId("exit").getByText("Exit status 4").waitFor();
    await page.getByRole("searchbox").fill("NEEDLE in");
    await page.getByRole("button", { name: "Search", exact: true }).click();
    await page.getByRole("list", { name: "Matches" }).getByText("a needle in a haystack").first().waitFor();
    await page.getByRole("button", { name: /haystack/ }).first().click();
    await page.getByRole("button", { name: /^Play/ }).click();
    await shows("a needle in a haystack");
    await screenshot(page, "playback");
    await expectAccessible(page);
    await page.goto(`${CONSOLE_URL}/api/v1/docs`);
    await page.getByRole("heading", { name: /Bastion Operator/ }).waitFor();
  },

  /** For `make demo`: a shell in a tab that is closed on request. */
  async tab() {
    const page = await openSignedInPage();
    await page.goto(`${CONSOLE_URL}/terminal/web-1`);
    await page.getByTestId("state").filter({ hasText: /^Live$/ }).waitFor();
    await page.keyboard.type("echo rea$((0))dy\n");
    await page.locator(".xterm-rows").getByText("rea0dy").first().waitFor();
    await askTest("close");
    await page.close();
  },

  /** A page keeps its position, filter and selection while sessions start and end. */
  async churn() {
    const page = await openSignedInPage();
    await askTest("many 300");
    await expectCount(page, 300);
    await page.goto(`${CONSOLE_URL}/?size=50&target=web-1`);
    await page.getByTestId("range").filter({ hasText: "1–50 of 300" }).waitFor();
    for (const range of ["51–100", "101–150"]) {
      await page.getByRole("button", { name: "Next" }).click();
      await page.getByTestId("range").filter({ hasText: `${range} of 300` }).waitFor();
    }
    const table = page.getByRole("grid");
    const ticked = (await rowNames(page)).slice(-5, -3);
    for (const name of ticked) await row(page, name).getByRole("checkbox").check();
    const before = await rowNames(page);
    const place = await row(page, ticked[0]).boundingBox();
    const [address, top] = [page.url(), await table.evaluate((it) => it.scrollTop)];

    await askTest("churn");
    await expectCount(page, 300 + 50 - 50);
    assert.deepEqual(await rowNames(page), before);
    assert.deepEqual(await row(page, ticked[0]).boundingBox(), place);
    assert.equal(page.url(), address);
    assert.equal(await table.evaluate((it) => it.scrollTop), top);
    for (const name of ticked) assert.ok(await row(page, name).getByRole("checkbox").isChecked());
    await page.getByText("2 selected").waitFor();
    // Another user's page with the same address shows the same rows.
    const other = await openSignedInPage();
    await other.goto(page.url());
    await row(other, before[0]).waitFor();
    assert.deepEqual(await rowNames(other), before);
  },

  /** Ten thousand sessions are listed, and only the visible rows are rendered. */
  async crowd() {
    const page = await openSignedInPage();
    await askTest("many 10000");
    await expectCount(page, 10000);
    await page.goto(`${CONSOLE_URL}/?size=10000`);
    await page.getByTestId("range").filter({ hasText: "1–10000 of 10000" }).waitFor();
    assert.ok((await rows(page).count()) < 100);
    const table = page.getByRole("grid");
    await table.evaluate((it) => { it.scrollTop = it.scrollHeight; });
    await page.locator('.rows [aria-rowindex="10001"]').waitFor();
    await page.getByLabel("Search").fill("many-01234");
    await page.getByTestId("range").filter({ hasText: "1–1 of 1" }).waitFor();
  },

  /** Names are escaped, the page is available in both languages, and it is accessible. */
  async words() {
    const page = await openSignedInPage();
    await askTest("strange");
    await expectCount(page, 1);
    assert.match(await rows(page).first().locator('[title*="<img"]').getAttribute("title"), /<img src=x onerror=/);
    assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const path of ["/", "/overview", "/history", "/targets"]) {
        await page.goto(CONSOLE_URL + path);
        await page.getByRole("heading", { level: 1 }).waitFor();
        await expectAccessible(page, `${colorScheme} ${path}`);
      }
    }
    await page.goto(CONSOLE_URL);
    await page.getByRole("button", { name: "中文" }).click();
    await page.getByRole("heading", { name: "在线会话" }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
    await screenshot(page, "sessions-zh");
    const chinese = await openSignedInPage({ locale: "zh-CN" });
    await chinese.getByRole("heading", { name: "在线会话" }).waitFor();
    const phone = await openSignedInPage({ viewport: { width: 390, height: 844 } });
    assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is no wider than a phone");
  },

  /** A user without permissions sees only their own sessions, and why they see no others. */
  async own() {
    const page = await openSignedInPage();
    await page.getByText("You see only your own sessions").waitFor();
    const [others, own] = (await askTest("open")).split(" ");
    await expectCount(page, 1);
    assert.deepEqual(await rowNames(page), [own]);
    await row(page, own).getByRole("checkbox").check();
    await page.getByRole("button", { name: "End…" }).click();
    await page.getByRole("dialog").getByRole("button", { name: CONFIRM_BUTTON }).click();
    await endedItem(page, own).getByText("Ended by its own user").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
    await page.getByText("Nobody is online", { exact: true }).waitFor();
    await page.getByRole("link", { name: "Targets" }).click();
    await page.getByText("may not list bastiontargets").waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Token").waitFor();
    await askTest(`answers ${others}`);
  },

  /**
   * For e2e/src/bin/bench/page.rs: measures how long a page takes to show a thousand rows at first, and the delay from each end of a
   * session to the frame without its row. All times come from the same machine's clock.
   */
  async latency() {
    const page = await openSignedInPage();
    const rounds = Number(await askTest("many 1000"));
    await expectCount(page, 1000);
    const cold = await browser.newContext({ viewport: { width: 1440, height: 900 }, storageState: await page.context().storageState() });
    const first = await cold.newPage();
    await first.addInitScript(() => {
      new MutationObserver((_, observer) => {
        if (!document.querySelector(".rows [data-name]")) return;
        observer.disconnect();
        requestAnimationFrame(() => { globalThis.shownAfter = performance.now(); });
      }).observe(document, { childList: true, subtree: true });
    });
    await first.goto(CONSOLE_URL);
    await first.waitForFunction(() => globalThis.shownAfter !== undefined);
    const firstShown = await first.evaluate(() => globalThis.shownAfter);
    await cold.close();
    await page.goto(`${CONSOLE_URL}/?size=1000`);
    await page.getByTestId("range").filter({ hasText: "1–1000 of 1000" }).waitFor();
    const shown = [];
    for (let round = 0; round < rounds; round++) {
      const name = await page.locator(".rows [data-name]").nth(5 + (round % 10)).getAttribute("data-name");
      const gone = page.evaluate((name) => new Promise((resolve) => {
        const look = () => {
          if (document.querySelector(`.rows [data-name="${name}"]`)) return;
          observer.disconnect();
          requestAnimationFrame(() => resolve(performance.timeOrigin + performance.now()));
        };
        const observer = new MutationObserver(look);
        observer.observe(document.querySelector(".rows"), { childList: true, subtree: true, attributes: true });
      }), name);
      const [began, seen] = (await askTest(`end ${name}`)).split(" ").map(Number);
      shown.push([seen - began, (await gone) - began]);
    }
    console.log(`@figures ${JSON.stringify({ firstShown, shown })}`);
  },

  /** A page shows that its console is gone, and recovers when another one starts. */
  async lost() {
    const page = await openSignedInPage();
    const [name] = (await askTest("open 1")).split(" ");
    await row(page, name).waitFor();
    await askTest("stop console");
    await expectStale(page);
    await askTest(`exit ${name}`);
    await askTest("start console");
    await expectLive(page);
    await expectCount(page, 0);
    await endedItem(page, name).waitFor();
  },
};

await scenarios[process.argv[2]]();
await browser.close();
console.log("@done");
process.exit(0);
