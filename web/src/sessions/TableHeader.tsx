// The header row of the list, whose buttons sort it.

import type { ReactNode } from "react";
import { type MessageKey, useTranslation } from "../i18n";
import type { ListLayout } from "./listLayout";
import type { ListQuery, SortColumn, UpdateQuery } from "./listQuery";

export const SORT_LABELS: Record<SortColumn, MessageKey> = {
  user: "user", target: "target", login: "login", client_address: "client", protocol: "protocol", start_time: "started", gateway: "gateway",
};
const COLUMNS: readonly (SortColumn | "duration" | "idle")[] = [
  "user", "target", "login", "client_address", "protocol", "start_time", "duration", "idle", "gateway",
];

interface TableHeaderProps {
  layout: ListLayout;
  query: ListQuery;
  updateQuery: UpdateQuery;
  selected: ReadonlySet<string>;
  toggle: (ids: readonly string[], isSelected: boolean) => void;
}

export function TableHeader({ layout, query, updateQuery, selected, toggle }: TableHeaderProps): ReactNode {
  const t = useTranslation();
  const ids = layout.slots.filter((slot) => !slot.ended).map((slot) => slot.id);
  const allSelected = ids.length > 0 && ids.every((id) => selected.has(id));
  return (
    <div role="rowgroup" className="header">
      <div className="row" role="row" aria-rowindex={1}>
        <span role="columnheader">
          <input type="checkbox" aria-label={t("selectAll")} checked={allSelected} onChange={(event) => toggle(ids, event.target.checked)} />
        </span>
        {COLUMNS.map((column) => {
          if (column === "duration" || column === "idle") return <span key={column} role="columnheader" data-column={column}>{t(column)}</span>;
          const isSorted = column === query.sort;
          return (
            <span key={column} role="columnheader" data-column={column} aria-sort={!isSorted ? undefined : query.descending ? "descending" : "ascending"}>
              <button type="button" onClick={() => updateQuery({ sort: column, descending: isSorted ? !query.descending : column === "start_time" })}>
                {t(SORT_LABELS[column])}<i aria-hidden="true">{isSorted ? (query.descending ? "↓" : "↑") : ""}</i>
              </button>
            </span>
          );
        })}
        <span role="columnheader" data-column="act"><span className="visually-hidden">{t("terminate")}</span></span>
      </div>
    </div>
  );
}
