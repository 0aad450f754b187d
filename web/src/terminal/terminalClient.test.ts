import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { FakeSocket } from "../fakeSocket";
import type { SftpClient } from "../sftp/client";
import { ACK_BYTES, FILES_WINDOW, MAX_BUFFERED_BYTES, MAX_FRAME_BYTES } from "./flowControl";
import { encodeFrame } from "./protocol";
import { TerminalClient } from "./terminalClient";

const listener = { onSession: vi.fn(), onOutput: vi.fn(), onNotice: vi.fn(), onEnd: vi.fn(), onLost: vi.fn() };
const HANDLE = Uint8Array.of(7);
const key = Uint8Array.of(65);
const messages = (): { type: string }[] => FakeSocket.last.sent.map((text) => JSON.parse(text));
/** Returns how many bytes of the files channel were passed to the browser. */
const sentFileBytes = (): number => FakeSocket.last.frames.filter(([channel]) => channel === 1).reduce((sum, { length }) => sum + length - 1, 0);
const opened = (): number => messages().filter(({ type }) => type === "open_files").length;
/** Returns how a request ended. */
const outcomeOf = (request: Promise<unknown>): Promise<string> => request.then(() => "done", (error: Error) => `${error.constructor.name}: ${error.message}`);
/** Writes a megabyte, in requests of the usual size. */
const fill = (sftp: SftpClient): void => {
  for (let piece = 0; piece < 32; piece++) void outcomeOf(sftp.write(HANDLE, piece * 32768, new Uint8Array(32768)));
};

let connection: TerminalClient;
beforeEach(() => {
  vi.useFakeTimers();
  vi.clearAllMocks();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("window", globalThis);
  connection = new TerminalClient("https://gateway/x", listener);
  FakeSocket.last.onopen();
  FakeSocket.last.says({ type: "session", files: true });
});
afterEach(() => {
  connection.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("opens the files channel once, and starts SFTP on it", () => {
  expect(connection.openFiles()).toBe(connection.openFiles());
  expect(opened()).toBe(1);
  expect(FakeSocket.last.frames.map((frame) => [...frame])).toEqual([[1, 0, 0, 0, 5, 1, 0, 0, 0, 3]]);
});

it("limits file data in flight to the window, and goes on as the gateway acknowledges", () => {
  fill(connection.openFiles());
  expect(sentFileBytes()).toBe(FILES_WINDOW);
  FakeSocket.last.says({ type: "ack", channel: "shell", bytes: 100_000 });
  expect(sentFileBytes()).toBe(FILES_WINDOW);
  FakeSocket.last.says({ type: "ack", channel: "files", bytes: 100_000 });
  expect(sentFileBytes()).toBe(FILES_WINDOW + 100_000);
});

it("lets a typed key wait for little file data, even in a slow network", () => {
  FakeSocket.last.slow = true;
  fill(connection.openFiles());
  expect(FakeSocket.last.bufferedAmount).toBeLessThan(MAX_BUFFERED_BYTES + 2 * MAX_FRAME_BYTES);
  connection.send(key);
  expect(FakeSocket.last.frames.at(-1)).toEqual(encodeFrame("shell", key));
  const before = sentFileBytes();
  vi.advanceTimersByTime(1000);
  expect(sentFileBytes()).toBe(before);
  FakeSocket.last.bufferedAmount = 0;
  vi.advanceTimersByTime(100);
  expect(sentFileBytes()).toBeGreaterThan(before);
});

it("goes on with file data when a message comes, even if timers are slow", () => {
  FakeSocket.last.slow = true;
  fill(connection.openFiles());
  const before = sentFileBytes();
  FakeSocket.last.bufferedAmount = 0;
  FakeSocket.last.says({ type: "pong" });
  expect(sentFileBytes()).toBeGreaterThan(before);
});

it("acknowledges file data", () => {
  connection.openFiles();
  FakeSocket.last.onmessage({ data: encodeFrame("files", new Uint8Array(ACK_BYTES)).buffer });
  expect(messages().at(-1)).toEqual({ type: "ack", channel: "files", bytes: ACK_BYTES });
  expect(listener.onOutput).not.toHaveBeenCalled();
});

it("fails pending requests when the channel is closed, and opens another channel", async () => {
  const pending = outcomeOf(connection.openFiles().realpath("."));
  FakeSocket.last.says({ type: "files_closed", message: "bastion: the target has no SFTP" });
  expect(await pending).toBe("SftpClosedError: bastion: the target has no SFTP");
  connection.openFiles();
  expect(opened()).toBe(2);
});

it("opens another channel only after the previous one is closed", () => {
  connection.openFiles();
  connection.closeFiles();
  expect(messages().at(-1)).toEqual({ type: "close_files" });
  connection.openFiles();
  connection.send(key);
  expect([opened(), FakeSocket.last.frames.length]).toEqual([1, 2]);
  FakeSocket.last.says({ type: "files_closed", message: "" });
  expect([opened(), FakeSocket.last.frames.length]).toEqual([2, 3]);
});

it.each([
  ["ends", () => FakeSocket.last.says({ type: "end", status: "closed", reason: "UserExit", message: "" })],
  ["is lost", () => FakeSocket.last.onclose({ reason: "" })],
])("fails pending requests when the session %s", async (_, end) => {
  const sftp = connection.openFiles();
  const pending = outcomeOf(sftp.realpath("."));
  end();
  expect([await pending, await outcomeOf(sftp.realpath("."))]).toEqual(["SftpClosedError: ", "SftpClosedError: "]);
});
