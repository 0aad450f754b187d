// The head of each page: what it is, and whether what it shows is so now.

import { type ReactNode, useEffect, useRef, useState } from "react";
import { local, zone } from "../format";
import { useOnline, useRefusal } from "../live/live";
import { hasGone } from "../url";
import { useSay } from "../words";

export function Head({ title, lead, children }: { title: ReactNode; lead?: ReactNode; children?: ReactNode }): ReactNode {
  const say = useSay();
  const here = zone(say.language);
  const heading = useHeading();
  return (
    <header className="head">
      <div className="title">
        <h1 ref={heading} tabIndex={-1}>{title}</h1>
        {lead}
      </div>
      {children}
      <span className="fill" />
      <span className="zone">{here === "UTC" ? say("zoneUtc") : say("zoneHint", here)}</span>
      <Mark />
    </header>
  );
}

/** Who goes to another page begins at its head, as they would on a page that was loaded, and hears what it is. */
export function useHeading(): React.RefObject<HTMLHeadingElement | null> {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    const busy = document.activeElement?.closest("main, dialog");
    if (hasGone() && !busy) heading.current?.focus({ preventScroll: true });
  }, []);
  return heading;
}

/** How long the page may be without the feed before it says so: opening one takes a moment. */
const GRACE = 400;

function Mark(): ReactNode {
  const say = useSay();
  const { live, heard } = useOnline();
  const refusal = useRefusal();
  const late = useLate(!live);
  if (live) return <span className="mark live" role="status">{say("live")}</span>;
  if (refusal) return <span className="mark old" role="status">{say("refusedFeed", refusal)}</span>;
  if (heard === 0) return <span className="mark" role="status">{late && say("connecting")}</span>;
  return (
    <span className="mark old" role="status">
      {say("reconnecting")} <small>{say("asOf", local(new Date(heard).toISOString()).slice(11))}</small>
    </span>
  );
}

function useLate(waiting: boolean): boolean {
  const [late, setLate] = useState(false);
  useEffect(() => {
    setLate(false);
    if (!waiting) return;
    const timer = window.setTimeout(() => setLate(true), GRACE);
    return () => window.clearTimeout(timer);
  }, [waiting]);
  return late;
}
