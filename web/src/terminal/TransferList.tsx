// The list of transfers. Progress updates render only this component, not the directory.

import { type ReactNode, useSyncExternalStore } from "react";
import { describeError } from "./directory";
import type { TerminalTranslate } from "./messages";
import { type Transfer, TransferQueue } from "./transferQueue";

export function TransferList({ queue, t }: { queue: TransferQueue; t: TerminalTranslate }): ReactNode {
  const transfers = useSyncExternalStore(queue.subscribe, queue.snapshot);
  if (transfers.length === 0) return null;
  return (
    <ul className="shell-transfers" aria-label={t("transfers")}>
      {transfers.map(({ id, name, direction, size, transferredBytes, outcome }) => (
        <li key={id}>
          <span aria-hidden="true">{direction === "up" ? "↑" : "↓"}</span>
          <span className="shell-file" title={name}>{name}</span>
          {outcome.state === "running"
            ? <progress aria-label={name} max={Math.max(1, size)} value={transferredBytes} />
            : <span className={outcome.state === "failed" || outcome.state === "exists" ? "bad" : "hint"} role="status">{outcomeText(outcome, direction, t)}</span>}
          {(outcome.state === "running" || outcome.state === "waiting") && <button type="button" aria-label={t("cancelOf", name)} onClick={() => queue.cancel(id)}>{t("cancel")}</button>}
          {outcome.state === "exists" && <button type="button" aria-label={t("replaceOf", name)} onClick={() => queue.replace(id)}>{t("replace")}</button>}
        </li>
      ))}
    </ul>
  );
}

function outcomeText(outcome: Exclude<Transfer["outcome"], { state: "running" }>, direction: Transfer["direction"], t: TerminalTranslate): string {
  switch (outcome.state) {
    case "waiting": return t("waiting");
    case "done": return t(direction === "up" ? "uploaded" : "downloaded");
    case "exists": return t("exists");
    case "cancelled": return t("cancelled");
    case "failed": return describeError(outcome.error, t);
  }
}
