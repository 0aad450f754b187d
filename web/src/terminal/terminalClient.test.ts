import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { SftpClient } from "../sftp/client";
import { ACK_BYTES, FILES_WINDOW, MAX_BUFFERED_BYTES, MAX_FRAME_BYTES } from "./flowControl";
import { encodeFrame } from "./protocol";
import { TerminalClient } from "./terminalClient";

class Socket {
  static last: Socket;
  static readonly OPEN = 1;
  readyState = 1;
  /** Bytes that the browser has not sent yet. It sends everything at once unless it is slow. */
  bufferedAmount = 0;
  slow = false;
  messages: { type: string; channel?: string; bytes?: number }[] = [];
  frames: Uint8Array[] = [];
  onopen = (): void => {};
  onmessage = (_: { data: string | ArrayBuffer }): void => {};
  onclose = (_: { reason: string }): void => {};
  constructor() {
    Socket.last = this;
  }
  close(): void {}
  send(what: string | Uint8Array): void {
    if (typeof what === "string") return void this.messages.push(JSON.parse(what));
    this.frames.push(what);
    if (this.slow) this.bufferedAmount += what.length;
  }
  says(what: object): void {
    this.onmessage({ data: JSON.stringify(what) });
  }
  /** Bytes of the files channel that were passed to the browser. */
  files(): number {
    return this.frames.filter(([channel]) => channel === 1).reduce((sum, { length }) => sum + length - 1, 0);
  }
}

const listener = { onSession: vi.fn(), onOutput: vi.fn(), onNotice: vi.fn(), onEnd: vi.fn(), onLost: vi.fn() };
const HANDLE = Uint8Array.of(7);
const key = Uint8Array.of(65);
const opened = (): number => Socket.last.messages.filter(({ type }) => type === "open_files").length;
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
  vi.stubGlobal("WebSocket", Socket);
  vi.stubGlobal("window", globalThis);
  connection = new TerminalClient("https://gateway/x", listener);
  Socket.last.onopen();
  Socket.last.says({ type: "session", files: true });
});
afterEach(() => {
  connection.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("opens the files channel once, and starts SFTP on it", () => {
  expect(connection.openFiles()).toBe(connection.openFiles());
  expect(opened()).toBe(1);
  expect(Socket.last.frames.map((frame) => [...frame])).toEqual([[1, 0, 0, 0, 5, 1, 0, 0, 0, 3]]);
});

it("limits file data in flight to the window, and goes on as the gateway acknowledges", () => {
  fill(connection.openFiles());
  expect(Socket.last.files()).toBe(FILES_WINDOW);
  Socket.last.says({ type: "ack", channel: "shell", bytes: 100_000 });
  expect(Socket.last.files()).toBe(FILES_WINDOW);
  Socket.last.says({ type: "ack", channel: "files", bytes: 100_000 });
  expect(Socket.last.files()).toBe(FILES_WINDOW + 100_000);
});

it("lets a typed key wait for little file data, even in a slow network", () => {
  Socket.last.slow = true;
  fill(connection.openFiles());
  expect(Socket.last.bufferedAmount).toBeLessThan(MAX_BUFFERED_BYTES + 2 * MAX_FRAME_BYTES);
  connection.send(key);
  expect(Socket.last.frames.at(-1)).toEqual(encodeFrame("shell", key));
  const before = Socket.last.files();
  vi.advanceTimersByTime(1000);
  expect(Socket.last.files()).toBe(before);
  Socket.last.bufferedAmount = 0;
  vi.advanceTimersByTime(100);
  expect(Socket.last.files()).toBeGreaterThan(before);
});

it("goes on with file data when a message comes, even if timers are slow", () => {
  Socket.last.slow = true;
  fill(connection.openFiles());
  const before = Socket.last.files();
  Socket.last.bufferedAmount = 0;
  Socket.last.says({ type: "pong" });
  expect(Socket.last.files()).toBeGreaterThan(before);
});

it("acknowledges file data", () => {
  connection.openFiles();
  Socket.last.onmessage({ data: encodeFrame("files", new Uint8Array(ACK_BYTES)).buffer });
  expect(Socket.last.messages.at(-1)).toEqual({ type: "ack", channel: "files", bytes: ACK_BYTES });
  expect(listener.onOutput).not.toHaveBeenCalled();
});

it("fails pending requests when the channel is closed, and opens another channel", async () => {
  const pending = outcomeOf(connection.openFiles().realpath("."));
  Socket.last.says({ type: "files_closed", message: "bastion: the target has no SFTP" });
  expect(await pending).toBe("SftpClosedError: bastion: the target has no SFTP");
  connection.openFiles();
  expect(opened()).toBe(2);
});

it("opens another channel only after the previous one is closed", () => {
  connection.openFiles();
  connection.closeFiles();
  expect(Socket.last.messages.at(-1)).toEqual({ type: "close_files" });
  connection.openFiles();
  connection.send(key);
  expect([opened(), Socket.last.frames.length]).toEqual([1, 2]);
  Socket.last.says({ type: "files_closed", message: "" });
  expect([opened(), Socket.last.frames.length]).toEqual([2, 3]);
});

it.each([
  ["ends", () => Socket.last.says({ type: "end", status: "closed", reason: "UserExit", message: "" })],
  ["is lost", () => Socket.last.onclose({ reason: "" })],
])("fails pending requests when the session %s", async (_, end) => {
  const sftp = connection.openFiles();
  const pending = outcomeOf(sftp.realpath("."));
  end();
  expect([await pending, await outcomeOf(sftp.realpath("."))]).toEqual(["SftpClosedError: ", "SftpClosedError: "]);
});
