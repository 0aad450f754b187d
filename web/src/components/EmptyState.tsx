// The message in place of an empty list or page. It says why the list or page is empty.

import type { ReactNode } from "react";

export function EmptyState({ title, hint, tone, children }: { title: string; hint?: string | null | undefined; tone?: "bad"; children?: ReactNode }): ReactNode {
  return (
    <div className={tone ? `empty ${tone}` : "empty"} role={tone ? "alert" : undefined}>
      <svg viewBox="0 0 64 40" width="64" height="40" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
        <path d="M4 38V14h8v5h8v-5h8v5h8v-5h8v5h8v-5h8v24zM26 38v-8a6 6 0 0 1 12 0v8" />
      </svg>
      <strong>{title}</strong>
      {hint && <span>{hint}</span>}
      {children}
    </div>
  );
}
