// xterm.js as the page has it everywhere: its font and colours, within its policy.

import { Unicode11Addon } from "@xterm/addon-unicode11";
import { type ITerminalOptions, Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { keepPolicy } from "./policy";
import { theme } from "./theme";

const FONT = 'ui-monospace, "SF Mono", "Cascadia Code", "Noto Sans Mono", "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace';
/** How many lines can be scrolled back to. */
const SCROLLBACK = 10_000;

export function openXterm(host: HTMLElement, more: ITerminalOptions = {}): Terminal {
  keepPolicy();
  const terminal = new Terminal({
    allowProposedApi: true,
    fontFamily: FONT,
    fontSize: 14,
    linkHandler: { activate: (_, link) => visit(link) },
    minimumContrastRatio: 4.5,
    scrollback: SCROLLBACK,
    theme: theme(host),
    ...more,
  });
  terminal.open(host);
  terminal.loadAddon(new Unicode11Addon());
  terminal.unicode.activeVersion = "11";
  return terminal;
}

/** Opens a link that was clicked on; the page that comes can do nothing to this one. */
export function visit(link: string): void {
  if (/^https?:\/\//i.test(link)) window.open(link, "_blank", "noopener,noreferrer");
}
