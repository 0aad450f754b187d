// A drop-down list of checkboxes.

import { type FocusEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { useTranslation } from "../i18n";
import { Icon } from "./Icon";

/** The most options of a list without a search field. */
const MAX_OPTIONS_WITHOUT_SEARCH = 8;
const MAX_OPTIONS_DRAWN = 200;

export interface SelectOption {
  value: string;
  /** Shown beside the value. */
  count: number;
}

interface MultiSelectProps {
  label: string;
  options: readonly SelectOption[];
  selected: readonly string[];
  onChange: (values: string[]) => void;
}

export function MultiSelect({ label, options, selected, onChange }: MultiSelectProps): ReactNode {
  const t = useTranslation();
  const details = useRef<HTMLDetailsElement>(null);
  const [open, setOpen] = useState(false);
  const [searchText, setSearchText] = useState("");
  // In the right half of the window the list would not fit to the right.
  const alignRight = open && (details.current?.getBoundingClientRect().left ?? 0) > window.innerWidth / 2;
  useEffect(() => {
    if (!open) return;
    const closeOnOutside = (event: Event): void => {
      const outside = event instanceof KeyboardEvent ? event.key === "Escape" : !details.current?.contains(event.target as Node);
      if (!outside || !details.current) return;
      details.current.open = false;
      if (event instanceof KeyboardEvent) details.current.querySelector("summary")?.focus();
    };
    document.addEventListener("pointerdown", closeOnOutside);
    document.addEventListener("keydown", closeOnOutside);
    return () => {
      document.removeEventListener("pointerdown", closeOnOutside);
      document.removeEventListener("keydown", closeOnOutside);
    };
  }, [open]);
  // Moving on with the Tab key closes the list. A click on something that takes no focus has no `relatedTarget`.
  const closeOnFocusOut = ({ currentTarget, relatedTarget }: FocusEvent<HTMLDetailsElement>): void => {
    if (relatedTarget && !currentTarget.contains(relatedTarget)) currentTarget.open = false;
  };
  const matching = options.filter((option) => option.value.toLowerCase().includes(searchText.toLowerCase())).slice(0, MAX_OPTIONS_DRAWN);
  const toggle = (value: string, checked: boolean): void => onChange(checked ? [...selected, value] : selected.filter((it) => it !== value));
  return (
    <details className={selected.length > 0 ? "multi-select selected" : "multi-select"} ref={details} onBlur={closeOnFocusOut} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span>{label}{selected.length > 0 && `: ${selected.join(", ")}`}</span>
        <Icon name="down" size={14} />
      </summary>
      {open && (
        <div className={alignRight ? "options end" : "options"}>
          {options.length > MAX_OPTIONS_WITHOUT_SEARCH && <input type="search" placeholder={t("find")} aria-label={t("find")} value={searchText} onChange={(event) => setSearchText(event.target.value)} autoFocus />}
          <ul>
            {matching.map(({ value, count }) => (
              <li key={value}>
                <label>
                  <input type="checkbox" checked={selected.includes(value)} onChange={(event) => toggle(value, event.target.checked)} />
                  <span>{value}</span> <small>{count}</small>
                </label>
              </li>
            ))}
          </ul>
        </div>
      )}
    </details>
  );
}
