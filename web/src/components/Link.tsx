// A link to another route, which does not reload the page.

import type { MouseEvent, ReactNode } from "react";
import { navigate, usePath } from "../router";

interface LinkProps {
  to: string;
  children: ReactNode;
  label?: string;
  /** Leaves the link out of the Tab order. For links that the keyboard reaches in another way. */
  skipTabOrder?: boolean;
  className?: string;
  title?: string | undefined;
}

export function Link({ to, children, label, skipTabOrder, className, title }: LinkProps): ReactNode {
  const isCurrent = usePath() === to;
  const onClick = (event: MouseEvent): void => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    navigate(to);
  };
  return <a href={to} onClick={onClick} className={className} aria-label={label} title={title} tabIndex={skipTabOrder ? -1 : undefined} aria-current={isCurrent ? "page" : undefined}>{children}</a>;
}
