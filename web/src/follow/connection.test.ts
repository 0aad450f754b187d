import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { onUnauthorized } from "../api/client";
import { PING_EVERY } from "../terminal/wire";
import { Connection } from "./connection";

class Socket {
  static all: Socket[] = [];
  static readonly OPEN = 1;
  readyState = 1;
  sent: string[] = [];
  closed = false;
  onopen = (): void => {};
  onmessage = (_: { data: string | ArrayBuffer }): void => {};
  onclose = (_: { reason: string }): void => {};
  constructor(
    readonly address: string,
    readonly protocols: string[],
  ) {
    Socket.all.push(this);
  }
  close(): void {
    this.closed = true;
  }
  send(text: string): void {
    this.sent.push(text);
  }
  says(what: object): void {
    this.onmessage({ data: JSON.stringify(what) });
  }
}
const last = (): Socket => Socket.all.at(-1)!;
const listener = { said: vi.fn(), output: vi.fn(), lost: vi.fn(), refused: vi.fn() };
const refuse = (status: number): void => {
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify({ error: "no" }), { status }));
};
/** Lets what was asked by HTTP be answered. */
const answered = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
/** Longer than any pause before the next attempt. */
const LONG = 16_000;

let connection: Connection;
beforeEach(() => {
  Socket.all = [];
  vi.useFakeTimers();
  vi.clearAllMocks();
  vi.stubGlobal("WebSocket", Socket);
  vi.stubGlobal("window", globalThis);
  vi.stubGlobal("location", { origin: "https://console" });
  connection = new Connection("s-1", listener);
});
afterEach(() => {
  connection.leave();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  onUnauthorized(() => {});
});

it("hands on what comes for the session that it asks for", () => {
  expect([last().address, last().protocols]).toEqual(["wss://console/api/v1/sessions/s-1/follow", ["follow.bastion.dev"]]);
  last().onopen();
  last().says({ type: "terminal_end", number: 3 });
  last().onmessage({ data: new Uint8Array([0, 0, 0, 3, 65]).buffer });
  expect(listener.said).toHaveBeenCalledWith({ type: "terminal_end", number: 3 });
  expect(listener.output).toHaveBeenCalledWith({ number: 3, bytes: new Uint8Array([65]) });
});

it("connects again where it was lost, and says why", () => {
  last().onopen();
  last().onclose({ reason: "this console ends" });
  expect(listener.lost).toHaveBeenCalledWith("this console ends");
  expect(Socket.all.length).toBe(1);
  vi.advanceTimersByTime(LONG);
  expect(Socket.all.length).toBe(2);
  connection.leave();
  last().onclose({ reason: "" });
  vi.advanceTimersByTime(LONG);
  expect([Socket.all.length, listener.lost.mock.calls.length]).toEqual([2, 1]);
});

it("waits longer where following breaks off each time, as its user reads of each", () => {
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  const wait = (): number => {
    const [before, since] = [Socket.all.length, Date.now()];
    last().onclose({ reason: "" });
    while (Socket.all.length === before) vi.advanceTimersToNextTimer();
    last().onopen();
    last().says({ type: "following" });
    return Date.now() - since;
  };
  last().onopen();
  expect([wait(), wait(), wait()]).toEqual([250, 500, 1000]);
  last().says({ type: "pong" });
  expect(wait()).toBe(250);
});

it("finds a console lost that answers no pings", () => {
  last().onopen();
  for (let count = 0; count < 6; count++) {
    vi.advanceTimersByTime(PING_EVERY);
    last().says({ type: "pong" });
  }
  expect([last().sent.length, listener.lost.mock.calls.length]).toEqual([6, 0]);
  vi.advanceTimersByTime(3 * PING_EVERY);
  expect([Socket.all[0]!.closed, listener.lost.mock.calls]).toEqual([true, [[null]]]);
});

it("is over with the session", () => {
  last().onopen();
  last().says({ type: "end", status: "closed", reason: "UserExit", message: "" });
  last().onclose({ reason: "" });
  vi.advanceTimersByTime(LONG);
  expect([Socket.all.length, listener.said.mock.calls.length, listener.lost.mock.calls.length]).toEqual([1, 1, 0]);
});

it("asks the same address why there is no socket, and gives up where that would stay so", async () => {
  for (const status of [401, 403, 404, 409]) {
    const unknown = vi.fn();
    onUnauthorized(unknown);
    refuse(status);
    connection.leave();
    connection = new Connection("s-1", listener);
    const { length } = Socket.all;
    last().onclose({ reason: "" });
    await answered();
    expect(listener.refused).toHaveBeenLastCalledWith(expect.objectContaining({ status, message: "no" }));
    expect(unknown).toHaveBeenCalledTimes(status === 401 ? 1 : 0);
    await vi.advanceTimersByTimeAsync(LONG);
    expect(Socket.all.length).toBe(length);
  }
  expect(listener.lost).not.toHaveBeenCalled();
});

it("tries again where its gateway, a proxy or the network is in the way", async () => {
  for (const [status, why] of [[502, "no"], [426, null], [0, null]] as const) {
    if (status) refuse(status);
    else vi.stubGlobal("fetch", () => Promise.reject(new TypeError("down")));
    const { length } = Socket.all;
    last().onclose({ reason: "" });
    await answered();
    expect(listener.lost).toHaveBeenLastCalledWith(why);
    await vi.advanceTimersByTimeAsync(LONG);
    expect(Socket.all.length).toBe(length + 1);
  }
  expect(listener.refused).not.toHaveBeenCalled();
});
