// The line below a list: the page size, and the buttons that change the page.

import type { ReactNode } from "react";
import { type MessageKey, useTranslation } from "../i18n";
import { Icon, type IconName } from "./Icon";

interface PagerProps {
  /** Says which rows are shown. */
  text: ReactNode;
  size: number;
  sizes: readonly number[];
  firstLabel: MessageKey;
  onSize: (size: number) => void;
  /** The handlers of the buttons. A button whose handler is null is disabled. */
  onFirst: (() => void) | null;
  onPrevious: (() => void) | null;
  onNext: (() => void) | null;
}

export function Pager({ text, size, sizes, firstLabel, onSize, onFirst, onPrevious, onNext }: PagerProps): ReactNode {
  const t = useTranslation();
  return (
    <div className="pager">
      <span data-testid="range">{text}</span>
      <span className="fill" />
      <label>
        <span className="wide">{t("perPage")}</span>{" "}
        <select aria-label={t("perPage")} value={size} onChange={(event) => onSize(Number(event.target.value))}>
          {sizes.map((it) => <option key={it}>{it}</option>)}
        </select>
      </label>
      <PageButton label={t(firstLabel)} icon="first" onClick={onFirst} />
      <PageButton label={t("previous")} icon="left" onClick={onPrevious} />
      <PageButton label={t("next")} icon="right" onClick={onNext} />
    </div>
  );
}

function PageButton({ label, icon, onClick }: { label: string; icon: IconName; onClick: (() => void) | null }): ReactNode {
  return <button type="button" className="tool" aria-label={label} title={label} disabled={!onClick} onClick={onClick ?? undefined}><Icon name={icon} /></button>;
}
