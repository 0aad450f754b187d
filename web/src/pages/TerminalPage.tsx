// The page of the web terminal. The terminal's code is a separate chunk.

import { type ComponentType, lazy, type ReactNode, Suspense } from "react";
import type { CurrentUser } from "../api/types";
import { EmptyState } from "../components/EmptyState";
import { PageHeader } from "../components/PageHeader";
import { useTranslation } from "../i18n";

type Props = { target: string; login: string | null; me: CurrentUser };

const [load] = Object.values(import.meta.glob<{ default: ComponentType<Props> }>("../terminal/index.tsx"));
const Terminal = load && lazy(load);

/** Whether this build includes the web terminal. */
export const HAS_TERMINAL = Terminal !== undefined;

export function TerminalPage(props: Props): ReactNode {
  const t = useTranslation();
  if (!Terminal) return <main className="page"><PageHeader title={props.target} /><EmptyState title={t("noTerminal")} /></main>;
  return <Suspense fallback={<main className="page" />}><Terminal {...props} /></Suspense>;
}
