// Creation of xterm.js terminals with the page's font, colours and Content-Security-Policy.

import { Unicode11Addon } from "@xterm/addon-unicode11";
import { type ITerminalOptions, Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { installCspElements } from "./cspElements";
import { openHiddenLink } from "./links";
import { terminalTheme } from "./theme";

const FONT_FAMILY = 'ui-monospace, "SF Mono", "Cascadia Code", "Noto Sans Mono", "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace';
const SCROLLBACK_LINES = 10_000;

/** Creates a terminal inside an element. */
export function createXterm(host: HTMLElement, options: ITerminalOptions = {}): Terminal {
  installCspElements();
  const terminal = new Terminal({
    allowProposedApi: true,
    fontFamily: FONT_FAMILY,
    fontSize: 14,
    linkHandler: { activate: (_, link) => openHiddenLink(link) },
    minimumContrastRatio: 4.5,
    scrollback: SCROLLBACK_LINES,
    theme: terminalTheme(host),
    ...options,
  });
  terminal.open(host);
  terminal.loadAddon(new Unicode11Addon());
  terminal.unicode.activeVersion = "11";
  return terminal;
}
