// The last five minutes at a glance: what began above the line, what ended below it.

import type { ReactNode } from "react";
import type { Online } from "../live/feed";
import { pulse } from "../live/figures";
import { useNow } from "../hooks/useNow";
import { useTranslation } from "../i18n";

const [SPAN, COUNT, HEIGHT] = [5000, 60, 16];

export function Pulse({ online }: { online: Online }): ReactNode {
  const t = useTranslation();
  const now = useNow(SPAN);
  const starts = pulse(online.starts, now, SPAN, COUNT);
  const ends = pulse(online.ended.map((it) => it.shownAt), now, SPAN, COUNT);
  const most = Math.max(4, ...starts, ...ends);
  const height = (count: number): number => (count === 0 ? 0 : Math.max(2, (count / most) * HEIGHT));
  const sum = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);
  const text = t("recentActivity", sum(starts), sum(ends));
  return (
    <svg className="pulse" viewBox={`0 0 ${COUNT * 4} ${HEIGHT * 2 + 1}`} width={COUNT * 4} height={HEIGHT * 2 + 1} role="img" aria-label={text}>
      <title>{text}</title>
      <path className="line" d={`M0 ${HEIGHT + 0.5}h${COUNT * 4}`} />
      {starts.map((count, at) => count > 0 && <rect key={`s${at}`} className="start" x={at * 4} width="3" y={HEIGHT - height(count)} height={height(count)} />)}
      {ends.map((count, at) => count > 0 && <rect key={`e${at}`} className="end" x={at * 4} width="3" y={HEIGHT + 1} height={height(count)} />)}
    </svg>
  );
}
