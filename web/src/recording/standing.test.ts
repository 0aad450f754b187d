import { expect, it } from "vitest";
import type { Session } from "../api/types";
import { makeSession } from "../fixtures";
import { lack, standing } from "./standing";

const of = (status: Session["status"], state?: string): Session =>
  makeSession("1", { status, recording: { mode: "Required", location: "s3://b/s", ...(state === undefined ? {} : { state }) } });

it("tells one kind of recording from another", () => {
  const part = { number: 1, complete: false, milliseconds: null, began: null, title: null, pieces: [] };
  expect(standing({ ...part, complete: true }, of("closed", "Failed"))).toBe("whole");
  const stands = [null, of("active"), of("terminated", "Failed"), of("closed", "Unfinished"), of("closed")].map((it) => standing(part, it));
  expect(stands).toEqual(["open", "going", "failed", "unfinished", "cut"]);
});

it("tells why there is none", () => {
  const whys = [null, makeSession("1"), of("active"), of("closed", "Failed"), of("closed", "Complete"), of("closed")].map(lack);
  expect(whys).toEqual(["nothing", "off", "notYet", "failed", "nothing", "nothing"]);
});
