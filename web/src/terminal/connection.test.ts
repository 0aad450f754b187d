import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type Sftp } from "../sftp/client";
import { Connection } from "./connection";
import { ACK_EVERY, FILES_AHEAD, FILES_WINDOW, frame, PIECE } from "./wire";

class Socket {
  static last: Socket;
  static readonly OPEN = 1;
  readyState = 1;
  /** What the browser has not sent yet. It sends everything at once unless it is slow. */
  bufferedAmount = 0;
  slow = false;
  said: { type: string; channel?: string; bytes?: number }[] = [];
  frames: Uint8Array[] = [];
  onopen = (): void => {};
  onmessage = (_: { data: string | ArrayBuffer }): void => {};
  onclose = (_: { reason: string }): void => {};
  constructor() {
    Socket.last = this;
  }
  close(): void {}
  send(what: string | Uint8Array): void {
    if (typeof what === "string") return void this.said.push(JSON.parse(what));
    this.frames.push(what);
    if (this.slow) this.bufferedAmount += what.length;
  }
  says(what: object): void {
    this.onmessage({ data: JSON.stringify(what) });
  }
  /** How many bytes of files were given to the browser. */
  files(): number {
    return this.frames.filter(([channel]) => channel === 1).reduce((sum, { length }) => sum + length - 1, 0);
  }
}

const listener = { began: vi.fn(), output: vi.fn(), notice: vi.fn(), ended: vi.fn(), lost: vi.fn() };
const HANDLE = Uint8Array.of(7);
const key = Uint8Array.of(65);
const opened = (): number => Socket.last.said.filter(({ type }) => type === "open_files").length;
/** How what was asked came to its end. */
const fate = (asked: Promise<unknown>): Promise<string> => asked.then(() => "done", (error: Error) => `${error.constructor.name}: ${error.message}`);
/** Has a megabyte written, in requests of the usual size. */
const fill = (sftp: Sftp): void => {
  for (let piece = 0; piece < 32; piece++) void fate(sftp.write(HANDLE, piece * 32768, new Uint8Array(32768)));
};

let connection: Connection;
beforeEach(() => {
  vi.useFakeTimers();
  vi.clearAllMocks();
  vi.stubGlobal("WebSocket", Socket);
  vi.stubGlobal("window", globalThis);
  connection = new Connection("https://gateway/x", listener);
  Socket.last.onopen();
  Socket.last.says({ type: "session", files: true });
});
afterEach(() => {
  connection.leave();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("opens a channel for files once, and begins on it", () => {
  expect(connection.openFiles()).toBe(connection.openFiles());
  expect(opened()).toBe(1);
  expect(Socket.last.frames.map((frame) => [...frame])).toEqual([[1, 0, 0, 0, 5, 1, 0, 0, 0, 3]]);
});

it("has no more of files on the way than their window, and goes on as the gateway takes it", () => {
  fill(connection.openFiles());
  expect(Socket.last.files()).toBe(FILES_WINDOW);
  Socket.last.says({ type: "ack", channel: "shell", bytes: 100_000 });
  expect(Socket.last.files()).toBe(FILES_WINDOW);
  Socket.last.says({ type: "ack", channel: "files", bytes: 100_000 });
  expect(Socket.last.files()).toBe(FILES_WINDOW + 100_000);
});

it("has a key that is typed wait for little of files, however slow the network is", () => {
  Socket.last.slow = true;
  fill(connection.openFiles());
  expect(Socket.last.bufferedAmount).toBeLessThan(FILES_AHEAD + 2 * PIECE);
  connection.send(key);
  expect(Socket.last.frames.at(-1)).toEqual(frame("shell", key));
  const before = Socket.last.files();
  vi.advanceTimersByTime(1000);
  expect(Socket.last.files()).toBe(before);
  Socket.last.bufferedAmount = 0;
  vi.advanceTimersByTime(100);
  expect(Socket.last.files()).toBeGreaterThan(before);
});

it("goes on with files as soon as an answer comes, where clocks are slow", () => {
  Socket.last.slow = true;
  fill(connection.openFiles());
  const before = Socket.last.files();
  Socket.last.bufferedAmount = 0;
  Socket.last.says({ type: "pong" });
  expect(Socket.last.files()).toBeGreaterThan(before);
});

it("says what it has taken of files", () => {
  connection.openFiles();
  Socket.last.onmessage({ data: frame("files", new Uint8Array(ACK_EVERY)).buffer });
  expect(Socket.last.said.at(-1)).toEqual({ type: "ack", channel: "files", bytes: ACK_EVERY });
  expect(listener.output).not.toHaveBeenCalled();
});

it("fails what was asked when the channel is closed, and opens another one", async () => {
  const asked = fate(connection.openFiles().realpath("."));
  Socket.last.says({ type: "files_closed", message: "bastion: the target has no SFTP" });
  expect(await asked).toBe("Gone: bastion: the target has no SFTP");
  connection.openFiles();
  expect(opened()).toBe(2);
});

it("opens another channel only when the one before is closed", () => {
  connection.openFiles();
  connection.closeFiles();
  expect(Socket.last.said.at(-1)).toEqual({ type: "close_files" });
  connection.openFiles();
  connection.send(key);
  expect([opened(), Socket.last.frames.length]).toEqual([1, 2]);
  Socket.last.says({ type: "files_closed", message: "" });
  expect([opened(), Socket.last.frames.length]).toEqual([2, 3]);
});

it.each([
  ["ends", () => Socket.last.says({ type: "end", status: "closed", reason: "UserExit", message: "" })],
  ["is lost", () => Socket.last.onclose({ reason: "" })],
])("fails what was asked when the session %s", async (_, end) => {
  const sftp = connection.openFiles();
  const asked = fate(sftp.realpath("."));
  end();
  expect([await asked, await fate(sftp.realpath("."))]).toEqual(["Gone: ", "Gone: "]);
});
