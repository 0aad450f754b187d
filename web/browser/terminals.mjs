// What is beside a shell in the page, the target's files, and who looks on: somebody who follows the session of another.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { AxeBuilder } from "@axe-core/playwright";
import { ask, CONSOLE_URL, picture, signedIn } from "./stage.mjs";

const state = (page, text) => page.getByTestId("state").filter({ hasText: text }).waitFor();
const shows = (page, text) => page.locator(".xterm-rows:visible").getByText(text).first().waitFor();

async function isAccessible(page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  assert.deepEqual(violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id }) => id), []);
}

export const terminals = {
  /** Files of the target: looked at, downloaded and uploaded whole, beside a shell that goes on. */
  async files() {
    const page = await signedIn();
    await page.goto(`${CONSOLE_URL}/terminal/web-1`);
    await state(page, /^Live$/);
    const session = await page.locator(".shell-session").innerText();
    await page.getByRole("button", { name: "Files", exact: true }).click();
    const files = page.getByRole("region", { name: "Files on web-1" });
    const go = async (path) => {
      // What comes first is where somebody is, and takes the place of what was typed.
      await files.getByRole("group").or(files.getByText("This directory is empty.")).first().waitFor();
      await files.getByLabel("Directory").fill(path);
      await files.getByRole("button", { name: "Open", exact: true }).click();
    };
    const folder = await ask("folder");
    await go(folder);
    await files.getByRole("button", { name: "inner/" }).waitFor();

    const transfers = files.getByRole("list", { name: "Transfers" }).getByRole("listitem");
    const [download] = await Promise.all([page.waitForEvent("download"), files.getByRole("button", { name: "Download big file" }).click()]);
    assert.equal(download.suggestedFilename(), "big file");
    await transfers.filter({ hasText: "big file" }).getByText("downloaded").waitFor();
    const content = await readFile(await download.path());

    await files.getByRole("button", { name: "inner/" }).click();
    await files.getByText("This directory is empty.").waitFor();
    const put = () => files.getByTestId("upload").setInputFiles({ name: "copy", mimeType: "application/octet-stream", buffer: content });
    await put();
    await transfers.filter({ hasText: "copy" }).getByText("uploaded").waitFor();
    await files.getByRole("button", { name: "Download copy" }).waitFor();
    assert.equal(await ask("same"), "same");
    await picture(page, "files");
    await isAccessible(page);

    await put();
    await transfers.getByText("already exists").waitFor();
    await transfers.getByRole("button", { name: "Replace copy" }).click();
    await transfers.getByText("uploaded").nth(1).waitFor();
    assert.equal(await ask("same"), "same");
    await go(`${folder}/none`);
    await files.getByRole("alert").getByText("no such file or directory").waitFor();

    await files.getByRole("button", { name: "Close" }).click();
    await page.keyboard.type("echo answer $((6 * 7))\n");
    await shows(page, "answer 42");
    await page.getByRole("button", { name: "Files", exact: true }).click();
    await go(folder);
    await files.getByRole("button", { name: "inner/" }).waitFor();
    await page.locator(".xterm").click();
    await page.keyboard.type("exit 3\n");
    await state(page, "The user left");
    await ask(`ended ${session} UserExit`);
  },

  /** Somebody sees what another's terminal shows, while it does, and how the session ends. */
  async follow() {
    const page = await signedIn();
    const name = await ask("terminal");
    await page.goto(`${CONSOLE_URL}/sessions/${name}`);
    await page.getByRole("link", { name: /^Follow/ }).click();
    await state(page, "Live");
    await page.getByTestId("observing").getByText("alice has been notified").waitFor();
    await shows(page, "before");
    await ask("say meanwhile");
    await shows(page, "meanwhile");
    await page.locator(".xterm").click();
    await page.keyboard.type("echo intruder\n");
    await picture(page, "follow");
    await isAccessible(page);
    await ask("exit");
    await page.getByText("The session has ended: The user left").waitFor();
    assert.equal(await page.getByText("intruder").count(), 0);
  },

  /** Somebody without the right is told what they lack. */
  async unobserved() {
    const page = await signedIn();
    const name = await ask("terminal");
    await page.goto(`${CONSOLE_URL}/sessions/${name}`);
    const follow = page.getByRole("button", { name: "Follow" });
    await follow.waitFor();
    assert.equal(await follow.isDisabled(), true);
    assert.match(await follow.getAttribute("title"), /bastionsessions\/observe/);
    await page.goto(`${CONSOLE_URL}/follow/${name}`);
    await page.getByText("You may not follow sessions").waitFor();
  },
};
