// Tests against OpenSSH's sftp-server, in a temporary directory.

import { type ChildProcess, spawn, type SpawnOptions } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type DirectoryEntry, SftpClient, SftpStatusError } from "./client";
import { type Bytes, MalformedPacketError, Status } from "./packets";
import { download, FileExistsError, type TransferOptions, upload } from "./transfer";

const SERVER = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"].find(existsSync);

let folder: string;
let servers: ChildProcess[];
let sftp: SftpClient;
/** The user and group `nobody`. */
const NOBODY = 65534;

/** Starts a server with `options`, after a shell has run `before`, and returns its client. */
function serve(before = ":", options: SpawnOptions = {}): SftpClient {
  if (!SERVER) throw new Error("there is no sftp-server: install openssh-sftp-server");
  const child = spawn("/bin/sh", ["-c", `${before}; exec "$0" -d "$1"`, SERVER, folder], { ...options, stdio: ["pipe", "pipe", "inherit"] });
  servers.push(child);
  const client = new SftpClient((bytes) => {
    child.stdin!.write(bytes);
  });
  // Split the stream at odd places, like a network.
  child.stdout!.on("data", (data: Buffer) => {
    for (let at = 0; at < data.length; at += 7919) client.receive(new Uint8Array(data.subarray(at, at + 7919)));
  });
  return client;
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sftp-"));
  servers = [];
  sftp = serve();
});

afterEach(() => {
  for (const server of servers) server.kill();
  rmSync(folder, { recursive: true, force: true });
});

const makeOptions = (change: Partial<TransferOptions> = {}): TransferOptions => ({ onProgress: () => undefined, signal: new AbortController().signal, ...change });
const bytesOf = async (blob: Blob): Promise<Buffer> => Buffer.from(await blob.arrayBuffer());
const code = async (what: Promise<unknown>): Promise<unknown> => what.then(() => "done", (error: unknown) => (error instanceof SftpStatusError ? error.code : error));

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

it("uploads and downloads a file unchanged, and reports progress", async () => {
  const content = randomBytes(20_000_003);
  let went = 0;
  const count = (bytes: number): void => { went += bytes; };
  await upload(sftp, new Blob([content]), `${folder}/b ig`, false, makeOptions({ onProgress: count }));
  expect([readFileSync(join(folder, "b ig")).equals(content), went]).toEqual([true, content.length]);
  went = 0;
  const blob = await download(sftp, `${folder}/b ig`, makeOptions({ onProgress: count }));
  expect([(await bytesOf(blob)).equals(content), went]).toEqual([true, content.length]);
});

it("transfers empty files, and files with a wrong size", async () => {
  await upload(sftp, new Blob([]), `${folder}/empty`, false, makeOptions());
  expect(readFileSync(join(folder, "empty")).length).toBe(0);
  expect((await download(sftp, `${folder}/empty`, makeOptions())).size).toBe(0);
  expect((await bytesOf(await download(sftp, "/proc/self/status", makeOptions()))).toString()).toContain("sftp-server");
});

it("replaces an existing file only when told to", async () => {
  writeFileSync(join(folder, "a"), "before, and longer");
  await expect(upload(sftp, new Blob(["new"]), `${folder}/a`, false, makeOptions())).rejects.toThrow(FileExistsError);
  expect(readFileSync(join(folder, "a"), "utf8")).toBe("before, and longer");
  await upload(sftp, new Blob(["new"]), `${folder}/a`, true, makeOptions());
  expect(readFileSync(join(folder, "a"), "utf8")).toBe("new");
});

it("removes an incomplete new file", async () => {
  const control = new AbortController();
  const stop = { signal: control.signal, onProgress: () => control.abort() };
  await expect(upload(sftp, new Blob([randomBytes(5_000_000)]), `${folder}/a`, false, makeOptions(stop))).rejects.toThrow();
  expect(existsSync(join(folder, "a"))).toBe(false);
  writeFileSync(join(folder, "b"), randomBytes(5_000_000));
  const another = new AbortController();
  await expect(download(sftp, `${folder}/b`, makeOptions({ signal: another.signal, onProgress: () => another.abort() }))).rejects.toThrow();
  expect((await sftp.list(folder)).map(({ name }) => name)).toEqual(["b"]);
});

it("reports the server's status", async () => {
  expect(await code(download(sftp, `${folder}/none`, makeOptions()))).toBe(Status.noSuchFile);
  expect(await code(sftp.list(`${folder}/none`))).toBe(Status.noSuchFile);
  expect(await sftp.lstat(`${folder}/none`)).toBeNull();
  expect(await code(upload(sftp, new Blob(["x"]), `${folder}/none/x`, false, makeOptions()))).toBe(Status.noSuchFile);
  expect(await code(download(sftp, folder, makeOptions()))).toBe(Status.failure);
});

it("reports a lack of permission", async () => {
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, "closed"));
  writeFileSync(join(folder, "file"), "x");
  for (const name of ["closed", "file"]) chmodSync(join(folder, name), 0);
  // Root may do everything.
  const other = process.getuid?.() === 0 ? serve(":", { uid: NOBODY, gid: NOBODY }) : sftp;
  expect(await code(other.list(`${folder}/closed`))).toBe(Status.permissionDenied);
  expect(await code(download(other, `${folder}/file`, makeOptions()))).toBe(Status.permissionDenied);
  expect(await code(upload(other, new Blob(["x"]), `${folder}/closed/x`, false, makeOptions()))).toBe(Status.permissionDenied);
});

it("removes an upload that is cancelled while its last bytes are in flight", async () => {
  const control = new AbortController();
  const stop = makeOptions({ signal: control.signal, onProgress: () => control.abort() });
  await expect(upload(sftp, new Blob([randomBytes(100_000)]), `${folder}/small`, false, stop)).rejects.toThrow();
  expect(existsSync(join(folder, "small"))).toBe(false);
});

it("fails a download that is cancelled with its last chunk", async () => {
  writeFileSync(join(folder, "a"), "x");
  const control = new AbortController();
  await expect(download(sftp, `${folder}/a`, makeOptions({ signal: control.signal, onProgress: () => control.abort() }))).rejects.toThrow();
});

it("closes each handle exactly once", async () => {
  const closed: string[] = [];
  const close = sftp.close.bind(sftp);
  sftp.close = async (handle) => {
    closed.push(Buffer.from(handle).toString("hex"));
    await close(handle);
    throw new SftpStatusError(Status.failure, "no room");
  };
  await expect(upload(sftp, new Blob(["x"]), `${folder}/a`, false, makeOptions())).rejects.toThrow("no room");
  expect(closed).toHaveLength(1);
  expect(existsSync(join(folder, "a"))).toBe(false);
});

it("opens files whose names are not UTF-8", async () => {
  const raw = Buffer.concat([Buffer.from(`${folder}/caf`), Buffer.of(0xe9), Buffer.from(" \u6587\u{1f600}"), Buffer.of(0xed, 0xa0, 0x80, 0xff)]);
  writeFileSync(raw, "latin");
  const [{ name }] = (await sftp.list(folder)) as [DirectoryEntry];
  expect((await bytesOf(await download(sftp, `${folder}/${name}`, makeOptions()))).toString()).toBe("latin");
  await sftp.remove(`${folder}/${name}`);
  expect(existsSync(raw)).toBe(false);
});

it("follows links", async () => {
  writeFileSync(join(folder, "a"), "content");
  symlinkSync("a", join(folder, "link"));
  expect((await bytesOf(await download(sftp, `${folder}/link`, makeOptions()))).toString()).toBe("content");
  await expect(upload(sftp, new Blob(["x"]), `${folder}/link`, false, makeOptions())).rejects.toThrow(FileExistsError);
});

it("rejects the output of a login script", async () => {
  await expect(serve("echo Welcome to this machine").realpath(".")).rejects.toThrow(MalformedPacketError);
});

it("fails pending and later requests after a disconnect", async () => {
  const asking = [sftp.realpath("."), sftp.list("."), download(sftp, "/proc/self/status", makeOptions())];
  sftp.disconnected("bastion: the session has ended");
  for (const one of [...asking, sftp.realpath(".")]) await expect(one).rejects.toThrow("bastion: the session has ended");
});

it("rejects a reply with an unknown request ID", async () => {
  const other = new SftpClient(() => undefined);
  const asked = other.realpath(".");
  other.receive(Uint8Array.of(0, 0, 0, 5, 102, 0, 0, 0, 9) as Bytes);
  await expect(asked).rejects.toThrow(MalformedPacketError);
});

it("bounds the requests in flight", async () => {
  let [now, most] = [0, 0];
  const counted = <Asked extends unknown[], Answer>(ask: (...asked: Asked) => Promise<Answer>) => async (...asked: Asked): Promise<Answer> => {
    most = Math.max(most, ++now);
    return ask(...asked).finally(() => now--);
  };
  const content = new Uint8Array(10_000_000);
  sftp.write = counted(sftp.write.bind(sftp));
  await upload(sftp, new Blob([content]), `${folder}/a`, false, makeOptions());
  expect([most, now]).toEqual([32, 0]);
  most = 0;
  sftp.read = counted(sftp.read.bind(sftp));
  expect((await download(sftp, `${folder}/a`, makeOptions())).size).toBe(content.length);
  expect(most).toBe(32);
});
