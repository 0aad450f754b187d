// The list itself: as many rows as fit are drawn, however many there are. It is a grid: one stop of the Tab key, and arrows.

import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, type ReactNode, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { Session } from "../api/types";
import type { Online } from "../live/feed";
import { useNow } from "../hooks/useNow";
import { navigate } from "../router";
import { useTranslation, type MessageKey } from "../i18n";
import type { Page, Query, Sort } from "./query";
import { Row } from "./Row";
import type { Ask, MayEnd } from "./Sessions";
import type { Slots } from "./slots";

/** A row's height, and that of a card where there is no room for columns; style/sessions.css has both. */
const [ROW, CARD, NARROW] = [42, 66, 620];
/** How long somebody works in the list after they last moved. */
const WORKING = 4000;

export const SORT_WORDS: Record<Sort, MessageKey> = {
  user: "user", target: "target", login: "login", client_address: "client", protocol: "protocol", start_time: "started", gateway: "gateway",
};
const COLUMNS: readonly (Sort | "duration" | "idle")[] = [
  "user", "target", "login", "client_address", "protocol", "start_time", "duration", "idle", "gateway",
];

export interface TableProps {
  layout: Slots;
  shown: Page;
  query: Query;
  ask: Ask;
  selected: ReadonlySet<string>;
  toggle: (ids: readonly string[], on: boolean) => void;
  online: Online;
  may: MayEnd;
  /** Whether somebody works in the list. */
  onBusy: (busy: boolean) => void;
  onEnd: (sessions: readonly Session[]) => void;
  onVisible: (names: readonly string[]) => void;
  /** Shows the page as it is. */
  onSettle: () => void;
}

export function Table(props: TableProps): ReactNode {
  const { layout, shown, selected, toggle, online, may, onEnd, onVisible, onSettle } = props;
  const { slots, waiting } = layout;
  const t = useTranslation();
  const scroller = useRef<HTMLDivElement>(null);
  const narrow = useNarrow(scroller);
  const virtual = useVirtualizer({
    count: slots.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => (narrow ? CARD : ROW),
    overscan: 12,
    getItemKey: (index) => slots[index]?.id ?? index,
  });
  useEffect(() => virtual.measure(), [virtual, narrow]);
  const [active, setActive] = useState<string | null>(null);
  const touch = useBusy(props.onBusy, scroller);
  const now = useNow();
  const items = virtual.getVirtualItems();
  const visible = items.flatMap((item) => slots[item.index]?.session.name ?? []).join();
  useEffect(() => onVisible(visible ? visible.split(",") : []), [visible, onVisible]);

  const press = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget) return;
    const at = slots.findIndex((slot) => slot.id === active);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: slots.length - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
    const slot = slots[at];
    if (to !== undefined) {
      const next = Math.max(0, Math.min(slots.length - 1, to));
      setActive(slots[next]?.id ?? null);
      virtual.scrollToIndex(next);
    } else if (!slot || slot.gone) return;
    else if (event.key === " ") toggle([slot.id], !selected.has(slot.id));
    else if (event.key === "Enter") navigate(`/sessions/${encodeURIComponent(slot.session.name)}`);
    else if (event.key === "Delete") {
      const chosen = [...selected].flatMap((id) => online.sessions.get(id) ?? []);
      const doomed = chosen.length > 0 ? chosen : [slot.session];
      if (doomed.every((it) => may(it) === null)) onEnd(doomed);
    } else return;
    touch();
    event.preventDefault();
  };
  return (
    <div className={online.live ? "grid" : "grid dim"}>
      {waiting > 0 && <button type="button" className="arrived" onClick={onSettle}>{t("arrived", waiting)}</button>}
      <div
        className={narrow ? "scroller cards" : "scroller"} ref={scroller} role="grid" aria-label={t("online")} aria-multiselectable="true" aria-rowcount={shown.total + 1} tabIndex={0}
        aria-activedescendant={active ? `row-${active}` : undefined} onKeyDown={press} onPointerMove={touch} onPointerLeave={() => touch(false)} onScroll={() => touch()}
        onFocus={() => active === null && setActive(slots[0]?.id ?? null)}
      >
        <Header {...props} />
        <div className="rows" role="rowgroup" style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const slot = slots[item.index];
            return slot && (
              <Row
                key={item.key} slot={slot} top={item.start} index={shown.before + item.index + 2} now={now} on={selected.has(slot.id)} active={slot.id === active}
                activity={online.activity.get(slot.session.name)} lacking={may(slot.session)} toggle={toggle} onEnd={onEnd}
              />
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Header({ layout, query, ask, selected, toggle }: TableProps): ReactNode {
  const t = useTranslation();
  const ids = layout.slots.filter((slot) => !slot.gone).map((slot) => slot.id);
  const all = ids.length > 0 && ids.every((id) => selected.has(id));
  return (
    <div role="rowgroup" className="header">
      <div className="row" role="row" aria-rowindex={1}>
        <span role="columnheader">
          <input type="checkbox" aria-label={t("selectAll")} checked={all} onChange={(event) => toggle(ids, event.target.checked)} />
        </span>
        {COLUMNS.map((column) => {
          if (column === "duration" || column === "idle") return <span key={column} role="columnheader" data-column={column}>{t(column)}</span>;
          const here = column === query.sort;
          return (
            <span key={column} role="columnheader" data-column={column} aria-sort={!here ? undefined : query.descending ? "descending" : "ascending"}>
              <button type="button" onClick={() => ask({ sort: column, descending: here ? !query.descending : column === "start_time" })}>
                {t(SORT_WORDS[column])}<i aria-hidden="true">{here ? (query.descending ? "↓" : "↑") : ""}</i>
              </button>
            </span>
          );
        })}
        <span role="columnheader" data-column="act"><span className="unseen">{t("terminate")}</span></span>
      </div>
    </div>
  );
}

/** Whether there is too little room for columns. */
function useNarrow(box: React.RefObject<HTMLDivElement | null>): boolean {
  const [narrow, setNarrow] = useState(false);
  useLayoutEffect(() => {
    if (!box.current) return;
    const measure = (width: number): void => setNarrow(width < NARROW);
    measure(box.current.clientWidth);
    const observer = new ResizeObserver(([entry]) => entry && measure(entry.contentRect.width));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, [box]);
  return narrow;
}

/** Tells whether somebody works in the list: they have just moved in it, or it is scrolled down. */
function useBusy(onBusy: (busy: boolean) => void, box: React.RefObject<HTMLDivElement | null>): (on?: unknown) => void {
  const timer = useRef(0);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  return (on) => {
    window.clearTimeout(timer.current);
    const rest = (): void => onBusy((box.current?.scrollTop ?? 0) > 0);
    if (on === false) return rest();
    onBusy(true);
    timer.current = window.setTimeout(rest, WORKING);
  };
}
