// The terminals of a session that is followed: one is shown, the others are tabs.

import { type KeyboardEvent, type ReactNode, useEffect, useRef } from "react";
import { formatLocalTime } from "../format";
import { XtermStage } from "../recording/stage";
import type { Terminal } from "./followed";
import type { ObserveTranslate } from "./messages";
import type { Outlets } from "./outlets";

interface TerminalsProps {
  terminals: readonly Terminal[];
  shown: Terminal | null;
  round: number;
  outlets: Outlets;
  readable: boolean;
  t: ObserveTranslate;
  onChoose: (number: number) => void;
}

export function Terminals({ terminals, shown, round, outlets, readable, t, onChoose }: TerminalsProps): ReactNode {
  const several = terminals.length > 1;
  return (
    <>
      {several && <Tabs terminals={terminals} shown={shown} t={t} onChoose={onChoose} />}
      {terminals.map((terminal) => (
        <Screen key={`${round} ${terminal.number}`} number={terminal.number} role={several ? "tabpanel" : "group"} hidden={terminal !== shown} outlets={outlets} readable={readable} t={t} />
      ))}
      <p className="hint follow-skipped" role="status">{shown?.skipped != null && t("skipped", formatLocalTime(new Date(shown.skipped).toISOString()).slice(11))}</p>
    </>
  );
}

const tabId = (number: number): string => `terminal-tab-${number}`;
const panelId = (number: number): string => `terminal-${number}`;

function Tabs({ terminals, shown, t, onChoose }: Pick<TerminalsProps, "terminals" | "shown" | "t" | "onChoose">): ReactNode {
  const move = (event: KeyboardEvent<HTMLDivElement>): void => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const at = terminals.findIndex((it) => it === shown);
    const next = step && terminals.at((at + step) % terminals.length);
    if (!next) return;
    event.preventDefault();
    onChoose(next.number);
    document.getElementById(tabId(next.number))?.focus();
  };
  return (
    <div className="follow-tabs" role="tablist" aria-label={t("terminals")} onKeyDown={move}>
      {terminals.map(({ number, ended }) => (
        <button
          key={number} type="button" role="tab" id={tabId(number)} aria-controls={panelId(number)} aria-selected={number === shown?.number}
          tabIndex={number === shown?.number ? 0 : -1} onClick={() => onChoose(number)}
        >
          {t("terminal", number)}{ended && <small> {t("closed")}</small>}
        </button>
      ))}
    </div>
  );
}

interface ScreenProps {
  number: number;
  role: "tabpanel" | "group";
  hidden: boolean;
  outlets: Outlets;
  readable: boolean;
  t: ObserveTranslate;
}

function Screen({ number, role, hidden, outlets, readable, t }: ScreenProps): ReactNode {
  const host = useRef<HTMLDivElement>(null);
  const stage = useRef<XtermStage | null>(null);
  const label = t("screen", number);
  useEffect(() => {
    if (!host.current) return;
    const made = new XtermStage(host.current, label);
    const detach = outlets.attach(number, made);
    stage.current = made;
    return () => {
      detach();
      made.close();
    };
    // What it is called at first stays.
  }, [number, outlets]);
  useEffect(() => {
    if (stage.current) stage.current.readable = readable;
  }, [readable]);
  return (
    <div className="stage-place" role={role} id={panelId(number)} aria-label={label} hidden={hidden}>
      <div className="stage-room"><div className="stage-host" ref={host} /></div>
    </div>
  );
}
