// The table of sessions. It renders only the rows on the screen, and is one stop of the Tab key with arrow keys inside
// (the grid pattern of WAI-ARIA).

import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, type ReactNode, type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { Session } from "../api/types";
import type { FeedState } from "../feed/feedState";
import { useNow } from "../hooks/useNow";
import { useTranslation } from "../i18n";
import { navigate } from "../router";
import { sessionPagePath } from "../routes";
import type { ListLayout } from "./listLayout";
import type { ListPage, ListQuery, UpdateQuery } from "./listQuery";
import { SessionRow } from "./SessionRow";
import { TableHeader } from "./TableHeader";
import { useInteraction } from "./useInteraction";
import type { TerminationBlocker } from "./useTerminationBlocker";

/** Heights of a row and of a card, in pixels; style/sessions.css sets the same. */
const ROW_HEIGHT = 42;
const CARD_HEIGHT = 66;
/** The width below which the list shows cards instead of columns, in pixels. */
const MIN_COLUMNS_WIDTH = 620;
/** The number of rows by which Page Up and Page Down move. */
const PAGE_KEY_ROWS = 10;

interface SessionTableProps {
  layout: ListLayout;
  page: ListPage;
  query: ListQuery;
  updateQuery: UpdateQuery;
  selected: ReadonlySet<string>;
  toggle: (ids: readonly string[], isSelected: boolean) => void;
  feedState: FeedState;
  terminationBlocker: TerminationBlocker;
  /** Reports whether the user works in the list. */
  onInteraction: (isActive: boolean) => void;
  onTerminate: (sessions: readonly Session[]) => void;
  onVisible: (names: readonly string[]) => void;
  /** Shows the current page. */
  onShowCurrent: () => void;
}

export function SessionTable(props: SessionTableProps): ReactNode {
  const { layout, page, selected, toggle, feedState, terminationBlocker, onTerminate, onVisible, onShowCurrent } = props;
  const { slots, newCount } = layout;
  const t = useTranslation();
  const scroller = useRef<HTMLDivElement>(null);
  const isNarrow = useIsNarrow(scroller);
  const virtualizer = useVirtualizer({
    count: slots.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => (isNarrow ? CARD_HEIGHT : ROW_HEIGHT),
    overscan: 12,
    getItemKey: (index) => slots[index]?.id ?? index,
  });
  useEffect(() => virtualizer.measure(), [virtualizer, isNarrow]);
  const [activeId, setActiveId] = useState<string | null>(null);
  const noteInteraction = useInteraction(props.onInteraction, scroller);
  const now = useNow();
  const items = virtualizer.getVirtualItems();
  const visible = items.flatMap((item) => slots[item.index]?.session.name ?? []).join();
  useEffect(() => onVisible(visible ? visible.split(",") : []), [visible, onVisible]);

  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget) return;
    const at = slots.findIndex((slot) => slot.id === activeId);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: slots.length - 1, PageDown: at + PAGE_KEY_ROWS, PageUp: at - PAGE_KEY_ROWS }[event.key];
    const slot = slots[at];
    if (to !== undefined) {
      const next = Math.max(0, Math.min(slots.length - 1, to));
      setActiveId(slots[next]?.id ?? null);
      virtualizer.scrollToIndex(next);
    } else if (!slot || slot.ended) return;
    else if (event.key === " ") toggle([slot.id], !selected.has(slot.id));
    else if (event.key === "Enter") navigate(sessionPagePath(slot.session.name));
    else if (event.key === "Delete") {
      const chosen = [...selected].flatMap((id) => feedState.sessions.get(id) ?? []);
      const targets = chosen.length > 0 ? chosen : [slot.session];
      if (targets.every((it) => terminationBlocker(it) === null)) onTerminate(targets);
    } else return;
    noteInteraction();
    event.preventDefault();
  };
  return (
    <div className={feedState.live ? "grid" : "grid dim"}>
      {newCount > 0 && <button type="button" className="arrived" onClick={onShowCurrent}>{t("arrived", newCount)}</button>}
      <div
        className={isNarrow ? "scroller cards" : "scroller"} ref={scroller} role="grid" aria-label={t("online")} aria-multiselectable="true" aria-rowcount={page.total + 1} tabIndex={0}
        aria-activedescendant={activeId ? `row-${activeId}` : undefined} onKeyDown={onKeyDown} onPointerMove={noteInteraction} onPointerLeave={() => noteInteraction(false)} onScroll={() => noteInteraction()}
        onFocus={() => activeId === null && setActiveId(slots[0]?.id ?? null)}
      >
        <TableHeader layout={layout} query={props.query} updateQuery={props.updateQuery} selected={selected} toggle={toggle} />
        <div className="rows" role="rowgroup" style={{ height: virtualizer.getTotalSize() }}>
          {items.map((item) => {
            const slot = slots[item.index];
            return slot && (
              <SessionRow
                key={item.key} slot={slot} top={item.start} index={page.offset + item.index + 2} now={now} isSelected={selected.has(slot.id)} isActive={slot.id === activeId}
                activity={feedState.activity.get(slot.session.name)} blocker={terminationBlocker(slot.session)} toggle={toggle} onTerminate={onTerminate}
              />
            );
          })}
        </div>
      </div>
    </div>
  );
}

/** Whether the list is too narrow for columns. */
function useIsNarrow(container: RefObject<HTMLDivElement | null>): boolean {
  const [isNarrow, setNarrow] = useState(false);
  useLayoutEffect(() => {
    if (!container.current) return;
    const measure = (width: number): void => setNarrow(width < MIN_COLUMNS_WIDTH);
    measure(container.current.clientWidth);
    const observer = new ResizeObserver(([entry]) => entry && measure(entry.contentRect.width));
    observer.observe(container.current);
    return () => observer.disconnect();
  }, [container]);
  return isNarrow;
}
