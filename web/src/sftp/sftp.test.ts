// Against OpenSSH's own server, in a folder of this machine's.

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Gone, Refused, Sftp } from "./client";
import { type Bytes, Packets, Status } from "./packets";
import { download, Exists, type Going, upload } from "./transfer";

const SERVER = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"].find(existsSync);

let folder: string;
let server: ChildProcess;
let sftp: Sftp;
/** How many questions the server has not answered yet, and how many those were at most. */
let underWay: { now: number; most: number };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sftp-"));
  if (!SERVER) throw new Error("there is no sftp-server: install openssh-sftp-server");
  server = spawn(SERVER, ["-d", folder], { stdio: ["pipe", "pipe", "inherit"] });
  underWay = { now: 0, most: 0 };
  const answers = new Packets();
  const client = new Sftp((bytes) => {
    underWay.most = Math.max(underWay.most, ++underWay.now);
    server.stdin!.write(bytes);
  });
  sftp = client;
  // In odd pieces, as a network would have them.
  server.stdout!.on("data", (data: Buffer) => {
    answers.add(new Uint8Array(data));
    while (answers.next()) underWay.now--;
    for (let at = 0; at < data.length; at += 7919) client.heard(new Uint8Array(data.subarray(at, at + 7919)));
  });
});

afterEach(() => {
  server.kill();
  rmSync(folder, { recursive: true, force: true });
});

const going = (change: Partial<Going> = {}): Going => ({ went: () => undefined, signal: new AbortController().signal, ...change });
const bytesOf = async (blob: Blob): Promise<Buffer> => Buffer.from(await blob.arrayBuffer());
const code = async (what: Promise<unknown>): Promise<unknown> => what.then(() => "done", (error: unknown) => (error instanceof Refused ? error.code : error));

it("lists a directory of any size, with names of any kind", async () => {
  const names = [...Array.from({ length: 1000 }, (_, number) => `file-${number}`), "a b", "q\"uo'te", "\u6587\u4ef6"];
  for (const name of names) writeFileSync(join(folder, name), "x");
  mkdirSync(join(folder, "folder"));
  symlinkSync("a b", join(folder, "link"));
  const here = await sftp.realpath(".");
  const found = await sftp.list(here);
  expect(found.map(({ name }) => name).sort()).toEqual([...names, "folder", "link"].sort());
  const [file, link] = ["a b", "link"].map((name) => found.find((it) => it.name === name)!);
  expect([file!.size, (file!.mode ?? 0) >> 12, (link!.mode ?? 0) >> 12]).toEqual([1, 0o10, 0o12]);
  expect(Math.abs(file!.modified! - Date.now() / 1000)).toBeLessThan(60);
});

it("brings a file back and forth as it is, and says how far it is", async () => {
  const content = randomBytes(20_000_003);
  let went = 0;
  const count = (bytes: number): void => { went += bytes; };
  await upload(sftp, new Blob([content]), `${folder}/b ig`, false, going({ went: count }));
  expect([readFileSync(join(folder, "b ig")).equals(content), went]).toEqual([true, content.length]);
  went = 0;
  const blob = await download(sftp, `${folder}/b ig`, going({ went: count }));
  expect([(await bytesOf(blob)).equals(content), went]).toEqual([true, content.length]);
});

it("brings files of no size, and of sizes that are said wrongly", async () => {
  await upload(sftp, new Blob([]), `${folder}/empty`, false, going());
  expect(readFileSync(join(folder, "empty")).length).toBe(0);
  expect((await download(sftp, `${folder}/empty`, going())).size).toBe(0);
  expect((await bytesOf(await download(sftp, "/proc/self/status", going()))).toString()).toContain("sftp-server");
});

it("replaces what is there only when it is told to", async () => {
  writeFileSync(join(folder, "a"), "before, and longer");
  await expect(upload(sftp, new Blob(["new"]), `${folder}/a`, false, going())).rejects.toThrow(Exists);
  expect(readFileSync(join(folder, "a"), "utf8")).toBe("before, and longer");
  await upload(sftp, new Blob(["new"]), `${folder}/a`, true, going());
  expect(readFileSync(join(folder, "a"), "utf8")).toBe("new");
});

it("takes a new file away again that is not whole", async () => {
  const control = new AbortController();
  const stop = { signal: control.signal, went: () => control.abort() };
  await expect(upload(sftp, new Blob([randomBytes(5_000_000)]), `${folder}/a`, false, going(stop))).rejects.toThrow();
  expect(existsSync(join(folder, "a"))).toBe(false);
  writeFileSync(join(folder, "b"), randomBytes(5_000_000));
  const another = new AbortController();
  await expect(download(sftp, `${folder}/b`, going({ signal: another.signal, went: () => another.abort() }))).rejects.toThrow();
  expect((await sftp.list(folder)).map(({ name }) => name)).toEqual(["b"]);
});

it("says what the server refuses", async () => {
  mkdirSync(join(folder, "closed"));
  chmodSync(join(folder, "closed"), 0);
  expect(await code(download(sftp, `${folder}/none`, going()))).toBe(Status.noSuchFile);
  expect(await code(sftp.list(`${folder}/none`))).toBe(Status.noSuchFile);
  expect(await sftp.lstat(`${folder}/none`)).toBeNull();
  expect(await code(upload(sftp, new Blob(["x"]), `${folder}/none/x`, false, going()))).toBe(Status.noSuchFile);
  expect(await code(download(sftp, folder, going()))).toBe(Status.failure);
  if (process.getuid?.() !== 0) expect(await code(sftp.list(`${folder}/closed`))).toBe(Status.permissionDenied);
});

it("fails everything when there is no server any more, and what is asked later", async () => {
  const asking = [sftp.realpath("."), sftp.list("."), download(sftp, "/proc/self/status", going())];
  sftp.closed("bastion: the session has ended");
  for (const one of [...asking, sftp.realpath(".")]) await expect(one).rejects.toThrow("bastion: the session has ended");
});

it("takes no answer for another's", async () => {
  const other = new Sftp(() => undefined);
  const asked = other.realpath(".");
  other.heard(Uint8Array.of(0, 0, 0, 5, 102, 0, 0, 0, 9) as Bytes);
  await expect(asked).rejects.toThrow(Gone);
});

it("has a bounded number of requests under way", async () => {
  const content = new Uint8Array(10_000_000);
  await upload(sftp, new Blob([content]), `${folder}/a`, false, going());
  expect((await download(sftp, `${folder}/a`, going())).size).toBe(content.length);
  expect(underWay.most).toBeGreaterThan(8);
  expect(underWay.most).toBeLessThanOrEqual(34);
});
