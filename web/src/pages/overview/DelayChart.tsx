// A histogram of the delays from the end of a session to its display.

import { type ReactNode, useMemo } from "react";
import { Link } from "../../components/Link";
import type { EndedSession } from "../../feed/feedState";
import { BUCKET_BOUNDS_MS, delayHistogram } from "../../feed/statistics";
import { formatDelay } from "../../format";
import { useTranslation } from "../../i18n";

/** The height of the highest bar. style/pages.css reserves the same height. */
const MAX_BAR_HEIGHT_REM = 5.5;

export function DelayChart({ ended }: { ended: readonly EndedSession[] }): ReactNode {
  const t = useTranslation();
  const histogram = useMemo(() => delayHistogram(ended), [ended]);
  const highest = Math.max(1, ...(histogram?.buckets ?? []));
  const boundText = (bound: number): string => (bound < 1000 ? `${bound}\nms` : `${bound / 1000}\ns`);
  return (
    <section className="paper" aria-labelledby="latency">
      <h2 id="latency">{t("shownLatency")}</h2>
      {!histogram && <p className="hint">{t("shownLatencyNone")}</p>}
      {histogram && (
        <>
          <p className="figures">
            <Link to="/"><b>{formatDelay(histogram.median)}</b> {t("median")}</Link>
            <Link to="/"><b>{formatDelay(histogram.p99)}</b> {t("slowest")}</Link>
          </p>
          <ol className="histogram">
            {histogram.buckets.map((count, index) => {
              const bound = BUCKET_BOUNDS_MS[index];
              return (
                <li key={index}>
                  <small>{count || ""}</small>
                  <i style={{ height: `${(count / highest) * MAX_BAR_HEIGHT_REM}rem` }} />
                  <small>{bound === undefined ? t("longerThan", boundText(BUCKET_BOUNDS_MS[index - 1] ?? 0)) : t("upToTime", boundText(bound))}</small>
                </li>
              );
            })}
          </ol>
          <p className="hint">{t("shownLatencyHint", histogram.count)}</p>
        </>
      )}
    </section>
  );
}
