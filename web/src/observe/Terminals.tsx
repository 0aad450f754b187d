// The terminals of an observed session: the selected one, and tabs for the others.

import { type KeyboardEvent, type ReactNode, useEffect, useRef } from "react";
import { formatLocalTime } from "../format";
import { ScaledScreen } from "../xterm/scaledScreen";
import type { ObserveTranslate } from "./messages";
import type { ObservedTerminal } from "./observeState";
import type { TerminalRouter } from "./terminalRouter";

interface TerminalsProps {
  terminals: readonly ObservedTerminal[];
  selected: ObservedTerminal | null;
  generation: number;
  router: TerminalRouter;
  screenReader: boolean;
  t: ObserveTranslate;
  onSelect: (number: number) => void;
}

export function Terminals({ terminals, selected, generation, router, screenReader, t, onSelect }: TerminalsProps): ReactNode {
  const hasTabs = terminals.length > 1;
  return (
    <>
      {hasTabs && <Tabs terminals={terminals} selected={selected} t={t} onSelect={onSelect} />}
      {terminals.map((terminal) => (
        <TerminalScreen key={`${generation} ${terminal.number}`} number={terminal.number} role={hasTabs ? "tabpanel" : "group"} hidden={terminal !== selected} router={router} screenReader={screenReader} t={t} />
      ))}
      <p className="hint observe-skipped" role="status">{selected?.skippedAt != null && t("skipped", formatLocalTime(selected.skippedAt).slice(11))}</p>
    </>
  );
}

const tabId = (number: number): string => `terminal-tab-${number}`;
const panelId = (number: number): string => `terminal-${number}`;

function Tabs({ terminals, selected, t, onSelect }: Pick<TerminalsProps, "terminals" | "selected" | "t" | "onSelect">): ReactNode {
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>): void => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const index = terminals.findIndex((it) => it === selected);
    const next = step && terminals.at((index + step) % terminals.length);
    if (!next) return;
    event.preventDefault();
    onSelect(next.number);
    document.getElementById(tabId(next.number))?.focus();
  };
  return (
    <div className="observe-tabs" role="tablist" aria-label={t("terminals")} onKeyDown={onKeyDown}>
      {terminals.map(({ number, isClosed }) => (
        <button
          key={number} type="button" role="tab" id={tabId(number)} aria-controls={panelId(number)} aria-selected={number === selected?.number}
          tabIndex={number === selected?.number ? 0 : -1} onClick={() => onSelect(number)}
        >
          {t("terminal", number)}{isClosed && <small> {t("closed")}</small>}
        </button>
      ))}
    </div>
  );
}

interface TerminalScreenProps {
  number: number;
  role: "tabpanel" | "group";
  hidden: boolean;
  router: TerminalRouter;
  screenReader: boolean;
  t: ObserveTranslate;
}

function TerminalScreen({ number, role, hidden, router, screenReader, t }: TerminalScreenProps): ReactNode {
  const host = useRef<HTMLDivElement>(null);
  const screen = useRef<ScaledScreen | null>(null);
  const label = t("screen", number);
  useEffect(() => {
    if (!host.current) return;
    const created = new ScaledScreen(host.current, label);
    const detach = router.attach(number, created);
    screen.current = created;
    return () => {
      detach();
      created.close();
    };
    // The label is read at creation only.
  }, [number, router]);
  useEffect(() => {
    if (screen.current) screen.current.screenReaderMode = screenReader;
  }, [screenReader]);
  return (
    <div className="screen-area" role={role} id={panelId(number)} aria-label={label} hidden={hidden}>
      <div className="screen-viewport"><div className="screen-host" ref={host} /></div>
    </div>
  );
}
