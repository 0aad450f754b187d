// A bar chart of the reasons for which sessions ended.

import type { ReactNode } from "react";
import { Link } from "../../components/Link";
import { rankCounts } from "../../feed/statistics";
import { useTranslation } from "../../i18n";

interface EndReasonsProps {
  /** Undefined until it is loaded; null without a history. */
  counts: Record<string, number> | null | undefined;
  historyBlocker: string | null;
}

export function EndReasons({ counts, historyBlocker }: EndReasonsProps): ReactNode {
  const t = useTranslation();
  const rows = counts ? rankCounts(counts) : [];
  return (
    <section className="paper" aria-labelledby="ends">
      <h2 id="ends">{t("endsByReason")}</h2>
      {counts === undefined && <p className="hint">{t("loading")}</p>}
      {counts === null && <p className="hint">{historyBlocker ?? t("noHistory")}</p>}
      {counts && rows.length === 0 && <p className="hint">{t("noEnds")}</p>}
      <ul className="bars">
        {rows.map(({ name, count, fraction }) => (
          <li key={name}>
            <Link to={`/history?reason=${encodeURIComponent(name)}`} title={t("historyByStart")}>
              <span>{t.reason(name)}</span>
              <span className="bar" aria-hidden="true"><i style={{ width: `${fraction * 100}%` }} /></span>
              <b>{count}</b>
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}
