// What people see in a real browser. e2e/browser/ starts a bastion and a console, then this with a scene's name, and does
// what is asked for on standard output: a line `@word` asks, a line on standard input answers.

import assert from "node:assert/strict";
import { AxeBuilder } from "@axe-core/playwright";
import { endings } from "./endings.mjs";
import { losses } from "./losses.mjs";
import { rights } from "./rights.mjs";
import { terminals } from "./terminals.mjs";
import {
  agree, ask, browser, CONFIRM, CONSOLE_URL, count, ended, live, names, old, picture, row, rows, signedIn, terminate,
} from "./stage.mjs";

const scenes = {
  ...endings,
  ...losses,
  ...rights,
  ...terminals,

  /** Sessions come and go on two pages at once: an exit, a killed client, an administrator; and a reload shows the same. */
  async sessions() {
    const [one, two] = [await signedIn(), await signedIn()];
    await one.getByText("Nobody is online", { exact: true }).waitFor();
    const [left, killed, first, second, stays] = (await ask("open 5")).split(" ");
    await agree(one, two);
    await picture(one, "sessions");

    await ask(`exit ${left}`);
    await row(one, left).waitFor({ state: "detached" });
    await ended(one, left).getByText("The user left").waitFor();
    await agree(one, two);
    await ask(`kill ${killed}`);
    await ended(two, killed).getByText("The client's connection broke").waitFor();
    await agree(one, two);
    await terminate(one, [first, second], "maintenance at noon");
    await agree(one, two);
    await one.reload();
    await row(one, stays).waitFor();
    await agree(one, two);
    await ask(`answers ${stays}`);
    await picture(two, "ended");

    await ended(one, left).waitFor({ state: "detached" });
    await row(one, stays).getByRole("link").click();
    await one.getByRole("heading", { name: stays }).waitFor();
    await one.getByTestId("status").getByText("active").waitFor();
    await one.getByRole("listitem").filter({ hasText: "Session began alice signed in to web-1" }).waitFor();
    await picture(one, "session");
    await ask(`exit ${stays}`);
    await one.getByTestId("status").getByText("closed: The user left").waitFor();

    const shown = await ended(two, left).innerText();
    const delay = /shown after ([\d.]+) (ms|s)/.exec(shown);
    assert.ok(delay && delay[2] === "ms" && Number(delay[1]) < 500, shown);
  },

  /** A shell in the page: what is typed is answered; each way out is the session's end, and says so; Enter begins again. */
  async terminal() {
    const [list, other] = [await signedIn(), await signedIn()];
    const page = await signedIn();
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
    await agree(list);
    await picture(page, "terminal");
    await page.keyboard.type("exit 3\n");
    await state("The user left");
    await shows("exit status 3");
    await ask(`ended ${first} UserExit`);
    await ended(list, first).getByText("The user left").waitFor();

    await page.keyboard.press("Enter");
    const second = await session();
    assert.notEqual(second, first);
    await terminate(list, [second], "enough of it", "Ended by its own user");
    await state("Ended by its own user");
    await shows("enough of it");
    await ask(`ended ${second} ApiClosed`);

    await page.keyboard.press("Enter");
    const third = await session();
    page.once("dialog", (dialog) => void dialog.accept());
    await page.reload();
    await ask(`ended ${third} TabClosed`);
    await ended(list, third).getByText("The user closed the tab").waitFor();
    const fourth = await session();
    await agree(list, other);
    await ask("stop console");
    await answers();
    await ask("start console");
    await answers();
    const { violations } = await new AxeBuilder({ page }).analyze();
    assert.deepEqual(violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id }) => id), []);
    await page.close();
    await ask(`ended ${fourth} TabClosed`);
    await count(list, 0);
    await agree(list, other);
  },

  /** A recording, as whoever may plays it: to its end, and to the moment at which a word was shown. */
  async playback() {
    const page = await signedIn();
    const name = await ask("recorded");
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
    await picture(page, "playback");
    const { violations } = await new AxeBuilder({ page }).analyze();
    assert.deepEqual(violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id }) => id), []);
    await page.goto(`${CONSOLE_URL}/api/v1/docs`);
    await page.getByRole("heading", { name: /Bastion Operator/ }).waitFor();
  },

  /** For `make demo`: a shell in a tab, which is closed when that is said. */
  async tab() {
    const page = await signedIn();
    await page.goto(`${CONSOLE_URL}/terminal/web-1`);
    await page.getByTestId("state").filter({ hasText: /^Live$/ }).waitFor();
    await page.keyboard.type("echo rea$((0))dy\n");
    await page.locator(".xterm-rows").getByText("rea0dy").first().waitFor();
    await ask("close");
    await page.close();
  },

  /** A page holds its place, its filter and what is ticked while sessions come and go around it. */
  async churn() {
    const page = await signedIn();
    await ask("many 300");
    await count(page, 300);
    await page.goto(`${CONSOLE_URL}/?size=50&target=web-1`);
    await page.getByTestId("range").filter({ hasText: "1–50 of 300" }).waitFor();
    for (const range of ["51–100", "101–150"]) {
      await page.getByRole("button", { name: "Next" }).click();
      await page.getByTestId("range").filter({ hasText: `${range} of 300` }).waitFor();
    }
    const table = page.getByRole("grid");
    const ticked = (await names(page)).slice(-5, -3);
    for (const name of ticked) await row(page, name).getByRole("checkbox").check();
    const before = await names(page);
    const place = await row(page, ticked[0]).boundingBox();
    const [address, top] = [page.url(), await table.evaluate((it) => it.scrollTop)];

    await ask("churn");
    await count(page, 300 + 50 - 50);
    assert.deepEqual(await names(page), before);
    assert.deepEqual(await row(page, ticked[0]).boundingBox(), place);
    assert.equal(page.url(), address);
    assert.equal(await table.evaluate((it) => it.scrollTop), top);
    for (const name of ticked) assert.ok(await row(page, name).getByRole("checkbox").isChecked());
    await page.getByText("2 selected").waitFor();
    // Somebody else's page of the same address shows the same.
    const other = await signedIn();
    await other.goto(page.url());
    await row(other, before[0]).waitFor();
    assert.deepEqual(await names(other), before);
  },

  /** Ten thousand rows: all of them are there, and few of them are drawn. */
  async crowd() {
    const page = await signedIn();
    await ask("many 10000");
    await count(page, 10000);
    await page.goto(`${CONSOLE_URL}/?size=10000`);
    await page.getByTestId("range").filter({ hasText: "1–10000 of 10000" }).waitFor();
    assert.ok((await rows(page).count()) < 100);
    const table = page.getByRole("grid");
    await table.evaluate((it) => { it.scrollTop = it.scrollHeight; });
    await page.locator('.rows [aria-rowindex="10001"]').waitFor();
    await page.getByLabel("Search").fill("many-01234");
    await page.getByTestId("range").filter({ hasText: "1–1 of 1" }).waitFor();
  },

  /** Names are text, whatever is in them; words are there in both languages; nothing keeps anybody out. */
  async words() {
    const page = await signedIn();
    await ask("strange");
    await count(page, 1);
    assert.match(await rows(page).first().locator('[title*="<img"]').getAttribute("title"), /<img src=x onerror=/);
    assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const path of ["/", "/overview", "/history", "/targets"]) {
        await page.goto(CONSOLE_URL + path);
        await page.getByRole("heading", { level: 1 }).waitFor();
        const { violations } = await new AxeBuilder({ page }).analyze();
        const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
        assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], `${colorScheme} ${path}`);
      }
    }
    await page.goto(CONSOLE_URL);
    await page.getByRole("button", { name: "中文" }).click();
    await page.getByRole("heading", { name: "在线会话" }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
    await picture(page, "sessions-zh");
    const chinese = await signedIn({ locale: "zh-CN" });
    await chinese.getByRole("heading", { name: "在线会话" }).waitFor();
    const phone = await signedIn({ viewport: { width: 390, height: 844 } });
    assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing hangs over a phone's edge");
  },

  /** Who may see nothing sees their own, and why a button does nothing. */
  async own() {
    const page = await signedIn();
    await page.getByText("You see only your own sessions").waitFor();
    const [others, own] = (await ask("open")).split(" ");
    await count(page, 1);
    assert.deepEqual(await names(page), [own]);
    await row(page, own).getByRole("checkbox").check();
    await page.getByRole("button", { name: "End…" }).click();
    await page.getByRole("dialog").getByRole("button", { name: CONFIRM }).click();
    await ended(page, own).getByText("Ended by its own user").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
    await page.getByText("Nobody is online", { exact: true }).waitFor();
    await page.getByRole("link", { name: "Targets" }).click();
    await page.getByText("may not list bastiontargets").waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Token").waitFor();
    await ask(`answers ${others}`);
  },

  /**
   * For benches/page.rs: how long a page with a thousand rows takes to show them at first, and from each end of a session on the
   * screen to the frame without its row. All clocks are this machine's.
   */
  async latency() {
    const page = await signedIn();
    const rounds = Number(await ask("many 1000"));
    await count(page, 1000);
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
      const [began, seen] = (await ask(`end ${name}`)).split(" ").map(Number);
      shown.push([seen - began, (await gone) - began]);
    }
    console.log(`@figures ${JSON.stringify({ firstShown, shown })}`);
  },

  /** A console that is gone is said to be gone, and its successor shows what is so. */
  async lost() {
    const page = await signedIn();
    const [name] = (await ask("open 1")).split(" ");
    await row(page, name).waitFor();
    await ask("stop console");
    await old(page);
    await ask(`exit ${name}`);
    await ask("start console");
    await live(page);
    await count(page, 0);
    await ended(page, name).waitFor();
  },
};

await scenes[process.argv[2]]();
await browser.close();
console.log("@done");
process.exit(0);
