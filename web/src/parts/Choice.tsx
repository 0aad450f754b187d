// A filter in which several values can be chosen.

import { type FocusEvent, type ReactNode, useEffect, useRef, useState } from "react";
import type { Option } from "../sessions/query";
import { useSay } from "../words";
import { Icon } from "./Icon";

/** From so many options on, they can be searched; and no more are drawn. */
const MANY = 8;
const MOST_DRAWN = 200;

interface ChoiceProps {
  label: string;
  options: readonly Option[];
  chosen: readonly string[];
  onChange: (values: string[]) => void;
}

export function Choice({ label, options, chosen, onChange }: ChoiceProps): ReactNode {
  const say = useSay();
  const box = useRef<HTMLDetailsElement>(null);
  const [open, setOpen] = useState(false);
  const [part, setPart] = useState("");
  // In the right half of the window there is room to the left.
  const end = open && (box.current?.getBoundingClientRect().left ?? 0) > window.innerWidth / 2;
  useEffect(() => {
    if (!open) return;
    const shut = (event: Event): void => {
      const away = event instanceof KeyboardEvent ? event.key === "Escape" : !box.current?.contains(event.target as Node);
      if (!away || !box.current) return;
      box.current.open = false;
      if (event instanceof KeyboardEvent) box.current.querySelector("summary")?.focus();
    };
    document.addEventListener("pointerdown", shut);
    document.addEventListener("keydown", shut);
    return () => {
      document.removeEventListener("pointerdown", shut);
      document.removeEventListener("keydown", shut);
    };
  }, [open]);
  // Who goes on with the Tab key leaves nothing open behind them; a click on what takes no focus goes nowhere.
  const leave = ({ currentTarget, relatedTarget }: FocusEvent<HTMLDetailsElement>): void => {
    if (relatedTarget && !currentTarget.contains(relatedTarget)) currentTarget.open = false;
  };
  const found = options.filter((option) => option.value.toLowerCase().includes(part.toLowerCase())).slice(0, MOST_DRAWN);
  const toggle = (value: string, on: boolean): void => onChange(on ? [...chosen, value] : chosen.filter((it) => it !== value));
  return (
    <details className={chosen.length > 0 ? "choice chosen" : "choice"} ref={box} onBlur={leave} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span>{label}{chosen.length > 0 && `: ${chosen.join(", ")}`}</span>
        <Icon name="down" size={14} />
      </summary>
      {open && (
        <div className={end ? "options end" : "options"}>
          {options.length > MANY && <input type="search" placeholder={say("find")} aria-label={say("find")} value={part} onChange={(event) => setPart(event.target.value)} autoFocus />}
          <ul>
            {found.map(({ value, count }) => (
              <li key={value}>
                <label>
                  <input type="checkbox" checked={chosen.includes(value)} onChange={(event) => toggle(value, event.target.checked)} />
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
