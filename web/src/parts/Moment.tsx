// A time: local, and in UTC for who points at it.

import type { ReactNode } from "react";
import { brief, local, utc } from "../format";

export function Moment({ time, now }: { time: string; now?: number }): ReactNode {
  return <time dateTime={time} title={utc(time)}>{now === undefined ? local(time) : brief(time, now)}</time>;
}
