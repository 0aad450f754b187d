// A bar chart of the last five minutes: started sessions above the line, ended ones below it.

import type { ReactNode } from "react";
import type { FeedState } from "../feed/feedState";
import { countPerInterval } from "../feed/statistics";
import { useNow } from "../hooks/useNow";
import { useTranslation } from "../i18n";

const INTERVAL_MS = 5000;
const INTERVALS = 60;
/** The highest bar, in pixels. */
const BAR_HEIGHT = 16;

export function ActivityChart({ state }: { state: FeedState }): ReactNode {
  const t = useTranslation();
  const now = useNow(INTERVAL_MS);
  const starts = countPerInterval(state.startTimes, now, INTERVAL_MS, INTERVALS);
  const ends = countPerInterval(state.ended.map((it) => it.shownAt), now, INTERVAL_MS, INTERVALS);
  const highest = Math.max(4, ...starts, ...ends);
  const height = (count: number): number => (count === 0 ? 0 : Math.max(2, (count / highest) * BAR_HEIGHT));
  const total = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);
  const label = t("recentActivity", total(starts), total(ends));
  return (
    <svg className="activity" viewBox={`0 0 ${INTERVALS * 4} ${BAR_HEIGHT * 2 + 1}`} width={INTERVALS * 4} height={BAR_HEIGHT * 2 + 1} role="img" aria-label={label}>
      <title>{label}</title>
      <path className="line" d={`M0 ${BAR_HEIGHT + 0.5}h${INTERVALS * 4}`} />
      {starts.map((count, at) => count > 0 && <rect key={`s${at}`} className="start" x={at * 4} width="3" y={BAR_HEIGHT - height(count)} height={height(count)} />)}
      {ends.map((count, at) => count > 0 && <rect key={`e${at}`} className="end" x={at * 4} width="3" y={BAR_HEIGHT + 1} height={height(count)} />)}
    </svg>
  );
}
