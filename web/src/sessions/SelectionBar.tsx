// The bar with the number of selected sessions and the actions on them. It overlays the list, so that no row moves.

import type { ReactNode } from "react";
import type { Session } from "../api/types";
import { Icon } from "../components/Icon";
import { useTranslation } from "../i18n";
import type { TerminationBlocker } from "./useTerminationBlocker";

interface SelectionBarProps {
  sessions: readonly Session[];
  terminationBlocker: TerminationBlocker;
  onTerminate: () => void;
  onClear: () => void;
}

export function SelectionBar({ sessions, terminationBlocker, onTerminate, onClear }: SelectionBarProps): ReactNode {
  const t = useTranslation();
  const blocker = sessions.map(terminationBlocker).find((it) => it !== null) ?? null;
  return (
    <div className={sessions.length > 0 ? "selection-bar" : "selection-bar none"} aria-live="polite">
      {sessions.length > 0 && (
        <>
          <strong>{t("selected", sessions.length)}</strong>
          {blocker !== null && <span className="hint">{blocker}</span>}
          <button type="button" className="danger" disabled={blocker !== null} title={blocker ?? undefined} onClick={onTerminate}>{t("terminate")}</button>
          <button type="button" className="tool" aria-label={t("clearSelection")} title={t("clearSelection")} onClick={onClear}><Icon name="close" /></button>
        </>
      )}
    </div>
  );
}
