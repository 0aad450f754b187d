// A link within the page, which does not load it anew.

import type { MouseEvent, ReactNode } from "react";
import { go, usePath } from "./url";

export function Link({ to, children }: { to: string; children: ReactNode }): ReactNode {
  const here = usePath() === to;
  const follow = (event: MouseEvent): void => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };
  return <a href={to} onClick={follow} aria-current={here ? "page" : undefined}>{children}</a>;
}
