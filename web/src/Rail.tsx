// The rail at the side, or at the foot of a phone: where to go, and who this is.

import { type ReactNode, useEffect, useRef, useState } from "react";
import type { Me } from "./api";
import { useOnline } from "./live/live";
import { Icon, type Picture } from "./parts/Icon";
import { Link } from "./parts/Link";
import { PLACES } from "./places";
import { useSay, type Word } from "./words";

export function Rail({ me, onLanguage, onOut }: { me: Me; onLanguage: () => void; onOut: () => void }): ReactNode {
  const say = useSay();
  const { live, sessions } = useOnline();
  return (
    <header className="rail">
      <span className="brand"><img src="/favicon.svg" alt="" width="26" height="26" /> <span>{say("title")}</span></span>
      <nav aria-label={say("pages")}>
        {PLACES.map(([to, word, picture]) => (
          <Link key={to} to={to}>
            <Icon name={picture} /> <span>{say(word)}</span>
            {to === "/" && live && <small className="badge" aria-hidden="true">{sessions.size}</small>}
          </Link>
        ))}
      </nav>
      <span className="fill" />
      <div className="person">
        <span className="who" title={[me.user, ...me.groups].join("\n")}>
          {me.user}
          <small>{me.cluster ? `${me.cluster} · ${me.namespace}` : me.namespace}</small>
        </span>
        <div className="tools">
          <Tool icon="out" label={say("signOut")} onClick={onOut} />
          <Theme />
          <Keys />
          <LanguageButton onLanguage={onLanguage} />
        </div>
      </div>
    </header>
  );
}

export function LanguageButton({ onLanguage }: { onLanguage: () => void }): ReactNode {
  const say = useSay();
  return <button type="button" className="tool text" onClick={onLanguage} lang={say.language === "en" ? "zh-CN" : "en"}>{say("language")}</button>;
}

function Tool({ icon, label, onClick, popup }: { icon: Picture; label: string; onClick: () => void; popup?: "dialog" }): ReactNode {
  return <button type="button" className="tool" aria-label={label} aria-haspopup={popup} title={label} onClick={onClick}><Icon name={icon} /></button>;
}

export function Theme(): ReactNode {
  const say = useSay();
  const [theme, setTheme] = useState(() => localStorage.getItem("theme") ?? "");
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return <Tool icon={dark ? "sun" : "moon"} label={say("theme")} onClick={() => setTheme(dark ? "light" : "dark")} />;
}

const KEYS: readonly (readonly [string, Word])[] = [
  ["/", "keySearch"], ["↑ ↓ Home End", "keyMove"], ["Space", "keySelect"], ["Enter", "keyOpen"], ["Delete", "keyEnd"],
];

/** What keys do; the key `?` shows it too. */
function Keys(): ReactNode {
  const say = useSay();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const press = (event: KeyboardEvent): void => {
      const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
      if (event.key === "?" && !typing && !document.querySelector("dialog[open]")) dialog.current?.showModal();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
  return (
    <>
      <Tool icon="keys" label={say("help")} popup="dialog" onClick={() => dialog.current?.showModal()} />
      <dialog ref={dialog} aria-labelledby="keys-title">
        <h2 id="keys-title">{say("help")}</h2>
        <dl className="keys">{KEYS.map(([key, word]) => <div key={key}><dt>{key.split(" ").map((it) => <kbd key={it}>{it}</kbd>)}</dt><dd>{say(word)}</dd></div>)}</dl>
        <form method="dialog" className="buttons"><button type="submit">{say("close")}</button></form>
      </dialog>
    </>
  );
}
