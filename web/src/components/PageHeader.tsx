// The header of each page: its title, and whether its data is live.

import { type ReactNode, useEffect, useRef } from "react";
import { useFeedRefusal, useFeedState } from "../feed/feedContext";
import { formatLocalTime, timeZoneName } from "../format";
import { useDelayed } from "../hooks/useDelayed";
import { useTranslation } from "../i18n";
import { hasNavigated } from "../router";

export function PageHeader({ title, lead, children }: { title: ReactNode; lead?: ReactNode; children?: ReactNode }): ReactNode {
  const t = useTranslation();
  const timeZone = timeZoneName(t.language);
  const heading = useFocusedHeading();
  return (
    <header className="page-header">
      <div className="title">
        <h1 ref={heading} tabIndex={-1}>{title}</h1>
        {lead}
      </div>
      {children}
      <span className="fill" />
      <span className="zone">{timeZone === "UTC" ? t("zoneUtc") : t("zoneHint", timeZone)}</span>
      <LiveIndicator />
    </header>
  );
}

/** Focuses the heading of a new page, so that keyboards start there and screen readers announce it. */
export function useFocusedHeading(): React.RefObject<HTMLHeadingElement | null> {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    const hasFocusInside = document.activeElement?.closest("main, dialog");
    if (hasNavigated() && !hasFocusInside) heading.current?.focus({ preventScroll: true });
  }, []);
  return heading;
}

/** Delay before a page without a feed shows "Connecting". */
const CONNECTING_GRACE_MS = 400;

function LiveIndicator(): ReactNode {
  const t = useTranslation();
  const { live, lastMessageAt } = useFeedState();
  const refusal = useFeedRefusal();
  const isLate = useDelayed(!live, CONNECTING_GRACE_MS);
  if (live) return <span className="live-indicator live" role="status">{t("live")}</span>;
  if (refusal) return <span className="live-indicator old" role="status">{t("refusedFeed", refusal)}</span>;
  if (lastMessageAt === 0) return <span className="live-indicator" role="status">{isLate && t("connecting")}</span>;
  return (
    <span className="live-indicator old" role="status">
      {t("reconnecting")} <small>{t("asOf", formatLocalTime(lastMessageAt).slice(11))}</small>
    </span>
  );
}
