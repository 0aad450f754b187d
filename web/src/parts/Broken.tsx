// What is shown in the place of a page that cannot be drawn: never nothing.

import { Component, type ReactNode } from "react";
import { sentence } from "../api";
import { useSay } from "../words";
import { Empty } from "./Empty";

interface State {
  broken: { error: unknown } | null;
}

/** Its `key` is to change with the page. */
export class Guard extends Component<{ children: ReactNode }, State> {
  override state: State = { broken: null };

  static getDerivedStateFromError(error: unknown): State {
    return { broken: { error } };
  }

  override render(): ReactNode {
    return this.state.broken ? <Broken error={this.state.broken.error} /> : this.props.children;
  }
}

/** Both ways load the page anew: what has failed once would fail again. */
function Broken({ error }: { error: unknown }): ReactNode {
  const say = useSay();
  return (
    <main className="page">
      <h1>{say("broken")}</h1>
      <Empty title={say("brokenHint")} hint={sentence(error)} tone="bad">
        <span className="buttons">
          <button type="button" onClick={() => location.reload()}>{say("reload")}</button>
          <a className="button" href="/">{say("online")}</a>
        </span>
      </Empty>
    </main>
  );
}
