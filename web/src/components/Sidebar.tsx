// The sidebar with the navigation and the signed-in user. On a phone it is a bar at the bottom.

import { type ReactNode, useCallback, useEffect, useRef, useState } from "react";
import type { CurrentUser } from "../api/types";
import { useFeedState } from "../feed/feedContext";
import { useShortcut } from "../hooks/useShortcut";
import { type MessageKey, useTranslation } from "../i18n";
import { NAV_ITEMS } from "../routes";
import { Icon, type IconName } from "./Icon";
import { Link } from "./Link";

export function Sidebar({ me, onSwitchLanguage, onSignOut }: { me: CurrentUser; onSwitchLanguage: () => void; onSignOut: () => void }): ReactNode {
  const t = useTranslation();
  const { live, sessions } = useFeedState();
  return (
    <header className="sidebar">
      <span className="brand"><img src="/favicon.svg" alt="" width="26" height="26" /> <span>{t("title")}</span></span>
      <nav aria-label={t("pages")}>
        {NAV_ITEMS.map(([to, label, icon]) => (
          <Link key={to} to={to}>
            <Icon name={icon} /> <span>{t(label)}</span>
            {to === "/" && live && <small className="badge" aria-hidden="true">{sessions.size}</small>}
          </Link>
        ))}
      </nav>
      <span className="fill" />
      <div className="sidebar-user">
        <span className="current-user" title={[me.user, ...me.groups].join("\n")}>
          {me.user}
          <small>{me.cluster ? `${me.cluster} · ${me.namespace}` : me.namespace}</small>
        </span>
        <div className="tools">
          <ToolButton icon="out" label={t("signOut")} onClick={onSignOut} />
          <ThemeButton />
          <ShortcutsButton />
          <LanguageButton onSwitchLanguage={onSwitchLanguage} />
        </div>
      </div>
    </header>
  );
}

export function LanguageButton({ onSwitchLanguage }: { onSwitchLanguage: () => void }): ReactNode {
  const t = useTranslation();
  return <button type="button" className="tool text" onClick={onSwitchLanguage} lang={t.language === "en" ? "zh-CN" : "en"}>{t("language")}</button>;
}

function ToolButton({ icon, label, onClick, popup }: { icon: IconName; label: string; onClick: () => void; popup?: "dialog" }): ReactNode {
  return <button type="button" className="tool" aria-label={label} aria-haspopup={popup} title={label} onClick={onClick}><Icon name={icon} /></button>;
}

export function ThemeButton(): ReactNode {
  const t = useTranslation();
  const [theme, setTheme] = useState(() => localStorage.getItem("theme") ?? "");
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return <ToolButton icon={dark ? "sun" : "moon"} label={t("theme")} onClick={() => setTheme(dark ? "light" : "dark")} />;
}

const SHORTCUTS: readonly (readonly [string, MessageKey])[] = [
  ["/", "keySearch"], ["↑ ↓ Home End", "keyMove"], ["Space", "keySelect"], ["Enter", "keyOpen"], ["Delete", "keyEnd"],
];

/** Opens the list of keyboard shortcuts, like the key `?`. */
function ShortcutsButton(): ReactNode {
  const t = useTranslation();
  const dialog = useRef<HTMLDialogElement>(null);
  const open = useCallback(() => dialog.current?.showModal(), []);
  useShortcut("?", open);
  return (
    <>
      <ToolButton icon="keys" label={t("help")} popup="dialog" onClick={open} />
      <dialog ref={dialog} aria-labelledby="keys-title">
        <h2 id="keys-title">{t("help")}</h2>
        <dl className="keys">{SHORTCUTS.map(([keys, label]) => <div key={keys}><dt>{keys.split(" ").map((it) => <kbd key={it}>{it}</kbd>)}</dt><dd>{t(label)}</dd></div>)}</dl>
        <form method="dialog" className="buttons"><button type="submit">{t("close")}</button></form>
      </dialog>
    </>
  );
}
