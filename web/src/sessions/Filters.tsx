// The search field, the filters and the order of the list.

import { type ReactNode, useCallback, useMemo, useRef } from "react";
import type { Session } from "../api/types";
import { Icon } from "../components/Icon";
import { MultiSelect } from "../components/MultiSelect";
import { useShortcut } from "../hooks/useShortcut";
import { useTranslation } from "../i18n";
import { DEFAULT_QUERY, FILTER_FIELDS, filterOptions, type ListQuery, SORT_COLUMNS, type UpdateQuery } from "./listQuery";
import { SORT_LABELS } from "./TableHeader";

interface FiltersProps {
  query: ListQuery;
  sessions: ReadonlyMap<string, Session>;
  updateQuery: UpdateQuery;
}

export function Filters({ query, sessions, updateQuery }: FiltersProps): ReactNode {
  const t = useTranslation();
  const search = useRef<HTMLInputElement>(null);
  const focusSearch = useCallback((event: KeyboardEvent): void => {
    event.preventDefault();
    search.current?.focus();
  }, []);
  useShortcut("/", focusSearch);
  const options = useMemo(() => filterOptions(sessions.values(), query), [sessions, query]);
  const hasFilters = query.search !== "" || FILTER_FIELDS.some((name) => query.filters[name].length > 0);
  return (
    <div className="filters" role="search">
      <label className="search">
        <Icon name="search" size={16} />
        <input ref={search} type="search" placeholder={t("searchHint")} aria-label={t("search")} aria-keyshortcuts="/" value={query.search} onChange={(event) => updateQuery({ search: event.target.value })} />
        <kbd aria-hidden="true">/</kbd>
      </label>
      {FILTER_FIELDS.map((name) => (
        <MultiSelect key={name} label={t(name)} options={options[name]} selected={query.filters[name]} onChange={(values) => updateQuery({ filters: { ...query.filters, [name]: values } })} />
      ))}
      <label className="sort">
        {t("sortBy")}{" "}
        <select value={query.sort} onChange={(event) => updateQuery({ sort: SORT_COLUMNS.find((it) => it === event.target.value) ?? DEFAULT_QUERY.sort })}>
          {SORT_COLUMNS.map((sort) => <option key={sort} value={sort}>{t(SORT_LABELS[sort])}</option>)}
        </select>
      </label>
      {hasFilters && <button type="button" className="quiet" onClick={() => updateQuery({ search: "", filters: DEFAULT_QUERY.filters })}>{t("clearFilters")}</button>}
    </div>
  );
}
