// The button that exposes a terminal's text to screen readers.

import type { ReactNode } from "react";
import { useTranslation } from "../i18n";

export function ScreenReaderButton({ on, onChange }: { on: boolean; onChange: (on: boolean) => void }): ReactNode {
  const t = useTranslation();
  return <button type="button" aria-pressed={on} onClick={() => onChange(!on)}>{t("screenReader")}</button>;
}
