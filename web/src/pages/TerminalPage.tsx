// The place of the web terminal, which is a part of its own and comes only to who opens it.

import { type ComponentType, lazy, type ReactNode, Suspense } from "react";
import type { Me } from "../api";
import { Empty } from "../parts/Empty";
import { Head } from "../parts/Head";
import { useSay } from "../words";

type Props = { target: string; login: string | null; me: Me };

const [load] = Object.values(import.meta.glob<{ default: ComponentType<Props> }>("../terminal/index.tsx"));
const Terminal = load && lazy(load);

/** Whether there is one. */
export const HAS_TERMINAL = Terminal !== undefined;

export function TerminalPage(props: Props): ReactNode {
  const say = useSay();
  if (!Terminal) return <main className="page"><Head title={props.target} /><Empty title={say("noTerminal")} /></main>;
  return <Suspense fallback={<main className="page" />}><Terminal {...props} /></Suspense>;
}
