// A local time, with UTC as its tooltip. With `now`, the date of today is left out.

import type { ReactNode } from "react";
import { formatLocalTime, formatShortTime, formatUtcTime } from "../format";

export function Timestamp({ time, now }: { time: string; now?: number }): ReactNode {
  return <time dateTime={time} title={formatUtcTime(time)}>{now === undefined ? formatLocalTime(time) : formatShortTime(time, now)}</time>;
}
