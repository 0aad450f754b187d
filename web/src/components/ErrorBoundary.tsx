// The page that is shown if the rendering of another page failed.

import { Component, type ReactNode } from "react";
import { toErrorMessage } from "../api/client";
import { useTranslation } from "../i18n";
import { EmptyState } from "./EmptyState";

interface State {
  failure: { error: unknown } | null;
}

/** Catches errors of its children. The component's `key` must change with the page; otherwise the error stays. */
export class ErrorBoundary extends Component<{ children: ReactNode }, State> {
  override state: State = { failure: null };

  static getDerivedStateFromError(error: unknown): State {
    return { failure: { error } };
  }

  override render(): ReactNode {
    return this.state.failure ? <ErrorPage error={this.state.failure.error} /> : this.props.children;
  }
}

/** The error page. Both buttons load the whole page again, because a component that failed once would fail again. */
function ErrorPage({ error }: { error: unknown }): ReactNode {
  const t = useTranslation();
  return (
    <main className="page">
      <h1>{t("broken")}</h1>
      <EmptyState title={t("brokenHint")} hint={toErrorMessage(error)} tone="bad">
        <span className="buttons">
          <button type="button" onClick={() => location.reload()}>{t("reload")}</button>
          <a className="button" href="/">{t("online")}</a>
        </span>
      </EmptyState>
    </main>
  );
}
