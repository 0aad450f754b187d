import { expect, it } from "vitest";
import type { Session } from "../api/types";
import { makeSession } from "../fixtures";
import { recordingStatus, unavailableReason } from "./recordingStatus";

const of = (status: Session["status"], state?: string): Session =>
  makeSession("1", { status, recording: { mode: "Required", location: "s3://b/s", ...(state === undefined ? {} : { state }) } });

it("distinguishes the statuses of a recording", () => {
  const part = { number: 1, complete: false, milliseconds: null, began: null, title: null, pieces: [] };
  expect(recordingStatus({ ...part, complete: true }, of("closed", "Failed"))).toBe("complete");
  const statuses = [null, of("active"), of("terminated", "Failed"), of("closed", "Unfinished"), of("closed")].map((it) => recordingStatus(part, it));
  expect(statuses).toEqual(["unknown", "recording", "failed", "unfinished", "cutOff"]);
});

it("returns why there is no recording", () => {
  const reasons = [null, makeSession("1"), of("active"), of("closed", "Failed"), of("closed", "Complete"), of("closed")].map(unavailableReason);
  expect(reasons).toEqual(["nothing", "off", "notYet", "failed", "nothing", "nothing"]);
});
