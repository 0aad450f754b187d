// Scenarios of the web terminal's files panel, and of observing another user's session.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { askTest, CONSOLE_URL, expectAccessible, openSignedInPage, screenshot } from "./harness.mjs";

const state = (page, text) => page.getByTestId("state").filter({ hasText: text }).waitFor();
const shows = (page, text) => page.locator(".xterm-rows:visible").getByText(text).first().waitFor();

export const terminals = {
  /** Files of the target are listed, downloaded and uploaded while the shell goes on. */
  async files() {
    const page = await openSignedInPage();
    await page.goto(`${CONSOLE_URL}/terminal/web-1`);
    await state(page, /^Live$/);
    const session = await page.locator(".shell-session").innerText();
    await page.getByRole("button", { name: "Files", exact: true }).click();
    const files = page.getByRole("region", { name: "Files on web-1" });
    const go = async (path) => {
      // The first listing sets the path field, so wait for it before typing.
      await files.getByRole("group").or(files.getByText("This directory is empty.")).first().waitFor();
      await files.getByLabel("Directory").fill(path);
      await files.getByRole("button", { name: "Open", exact: true }).click();
    };
    const folder = await askTest("folder");
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
    assert.equal(await askTest("same"), "same");
    await screenshot(page, "files");
    await expectAccessible(page);

    await put();
    await transfers.getByText("already exists").waitFor();
    await transfers.getByRole("button", { name: "Replace copy" }).click();
    await transfers.getByText("uploaded").nth(1).waitFor();
    assert.equal(await askTest("same"), "same");
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
    await askTest(`ended ${session} UserExit`);
  },

  /** A user observes another user's terminal live, and sees how the session ends. */
  async follow() {
    const page = await openSignedInPage();
    const name = await askTest("terminal");
    await page.goto(`${CONSOLE_URL}/sessions/${name}`);
    await page.getByRole("link", { name: /^Follow/ }).click();
    await state(page, "Live");
    await page.getByTestId("observing").getByText("alice has been notified").waitFor();
    await shows(page, "before");
    await askTest("say meanwhile");
    await shows(page, "meanwhile");
    await page.locator(".xterm").click();
    await page.keyboard.type("echo intruder\n");
    await screenshot(page, "follow");
    await expectAccessible(page);
    await askTest("exit");
    await page.getByText("The session has ended: The user left").waitFor();
    assert.equal(await page.getByText("intruder").count(), 0);
  },

  /** A user without the permission sees which one is missing. */
  async unobserved() {
    const page = await openSignedInPage();
    const name = await askTest("terminal");
    await page.goto(`${CONSOLE_URL}/sessions/${name}`);
    const follow = page.getByRole("button", { name: "Follow" });
    await follow.waitFor();
    assert.equal(await follow.isDisabled(), true);
    assert.match(await follow.getAttribute("title"), /bastionsessions\/observe/);
    await page.goto(`${CONSOLE_URL}/follow/${name}`);
    await page.getByText("You may not follow sessions").waitFor();
  },
};
