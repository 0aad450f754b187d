// The page that shows a session's terminals live and read-only.

import { type ReactNode, useEffect, useReducer, useState } from "react";
import type { CurrentUser } from "../api/types";
import { EmptyState } from "../components/EmptyState";
import { Link } from "../components/Link";
import { useFocusedHeading } from "../components/PageHeader";
import { ScreenReaderButton } from "../components/ScreenReaderButton";
import { useScreenReaderMode } from "../hooks/useScreenReaderMode";
import { usePartTranslation } from "../i18n";
import { sessionPagePath } from "../routes";
import { messages, type ObserveTranslate } from "./messages";
import { ObserveClient } from "./observeClient";
import { INITIAL_STATE, observeReducer, type ObserveState, type Phase, selectedTerminal } from "./observeState";
import "./style.css";
import { TerminalRouter } from "./terminalRouter";
import { Terminals } from "./Terminals";

export default function ObservePage({ name, me }: { name: string; me: CurrentUser }): ReactNode {
  const t = usePartTranslation(messages);
  const permission = me.rights.observe;
  if (permission?.allowed !== false) return <ObservedSession name={name} t={t} />;
  return <Frame name={name} state={INITIAL_STATE} t={t}><EmptyState title={t("mayNot")} hint={permission.reason} tone="bad" /></Frame>;
}

function ObservedSession({ name, t }: { name: string; t: ObserveTranslate }): ReactNode {
  const [state, router, select] = useObservedSession(name);
  const [screenReader, setScreenReader] = useScreenReaderMode();
  const { phase, terminals } = state;
  const action = terminals.length > 0 && <ScreenReaderButton on={screenReader} onChange={setScreenReader} />;
  return (
    <Frame name={name} state={state} t={t} action={action}>
      <PhaseNotice phase={phase} t={t} />
      {phase.state === "live" && terminals.length === 0 && <EmptyState title={t("noTerminal")} hint={t("noTerminalHint")} />}
      <Terminals terminals={terminals} selected={selectedTerminal(state)} generation={state.generation} router={router} screenReader={screenReader} t={t} onSelect={select} />
    </Frame>
  );
}

/** Observes a session; returns its state, the router of its output, and a function that selects a terminal. */
function useObservedSession(name: string): [ObserveState, TerminalRouter, (number: number) => void] {
  const [state, dispatch] = useReducer(observeReducer, INITIAL_STATE);
  const [router] = useState(() => new TerminalRouter((number) => dispatch({ type: "skipped", number, now: Date.now() })));
  useEffect(() => {
    const client = new ObserveClient(name, {
      onMessage: (message) => {
        if (message.type === "following") router.clear();
        if (message.type === "terminal") router.resize(message.number, { columns: message.cols, rows: message.rows });
        if (message.type === "skipped") router.markGap(message.number);
        dispatch({ type: "message", message, now: Date.now() });
      },
      onOutput: ({ number, bytes }) => router.write(number, bytes),
      onLost: (reason) => dispatch({ type: "lost", reason }),
      onRefused: ({ status, message }) => dispatch({ type: "refused", status, reason: message }),
    });
    return () => client.close();
  }, [name, router]);
  return [state, router, (number) => dispatch({ type: "selected", number })];
}

interface FrameProps {
  name: string;
  state: ObserveState;
  t: ObserveTranslate;
  action?: ReactNode;
  children: ReactNode;
}

function Frame({ name, state: { session, phase }, t, action, children }: FrameProps): ReactNode {
  const heading = useFocusedHeading();
  return (
    <main className="page observe">
      <header className="page-header">
        <div className="title">
          <h1 ref={heading} tabIndex={-1}>{session ? t("of", session.user, `${session.login}@${session.target}`) : name}</h1>
          <span className={phase.state === "live" ? "live-indicator live" : phase.state === "connecting" ? "live-indicator" : "live-indicator old"} role="status" data-testid="state">{t(phase.state)}</span>
          {session && phase.state === "live" && <span className="live-indicator old" data-testid="observing">{t("observing", session.user)}</span>}
        </div>
        <span className="fill" />
        {action}
        <Link to={sessionPagePath(name)} className="button">{t("toSession")}</Link>
      </header>
      {children}
    </main>
  );
}

/** Says why the terminals are not live. */
function PhaseNotice({ phase, t }: { phase: Phase; t: ObserveTranslate }): ReactNode {
  switch (phase.state) {
    case "lost":
      return <p className="notice" role="status">{phase.reason === null ? t("retrying") : t("retryingBecause", phase.reason)}</p>;
    case "refused":
      return <EmptyState title={t(REFUSAL_MESSAGES[phase.status] ?? "fails")} hint={phase.reason} tone="bad" />;
    case "ended":
      return <p className="notice" role="status">{t("endedBecause", t.reason(phase.end.reason))}{phase.end.message && <small> {phase.end.message}</small>}</p>;
    default:
      return null;
  }
}

const REFUSAL_MESSAGES: Record<number, "signedOut" | "mayNot" | "notFound" | "alreadyOver"> = { 401: "signedOut", 403: "mayNot", 404: "notFound", 409: "alreadyOver" };
