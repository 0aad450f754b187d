// A local time, with the time in UTC as its tooltip. With `now`, the date is left out if the time is on the same day.

import type { ReactNode } from "react";
import { formatLocalTime, formatShortTime, formatUtcTime } from "../format";

export function Timestamp({ time, now }: { time: string; now?: number }): ReactNode {
  return <time dateTime={time} title={formatUtcTime(time)}>{now === undefined ? formatLocalTime(time) : formatShortTime(time, now)}</time>;
}
