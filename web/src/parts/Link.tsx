// A link within the page, which does not load it anew.

import type { MouseEvent, ReactNode } from "react";
import { go, usePath } from "../url";

interface LinkProps {
  to: string;
  children: ReactNode;
  label?: string;
  /** Where keys reach it otherwise. */
  quiet?: boolean;
  className?: string;
  title?: string | undefined;
}

export function Link({ to, children, label, quiet, className, title }: LinkProps): ReactNode {
  const here = usePath() === to;
  const follow = (event: MouseEvent): void => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };
  return <a href={to} onClick={follow} className={className} aria-label={label} title={title} tabIndex={quiet ? -1 : undefined} aria-current={here ? "page" : undefined}>{children}</a>;
}
