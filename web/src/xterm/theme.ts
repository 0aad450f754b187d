// Colours of terminals. Background and text come from the page; the 16 ANSI colours are for a light and a dark page.

import type { ITheme } from "@xterm/xterm";

const LIGHT_THEME: ITheme = {
  black: "#182224", red: "#ad2018", green: "#2c6b22", yellow: "#7d5600", blue: "#1d5fa8", magenta: "#8b3a8f", cyan: "#17635d", white: "#7c898c",
  brightBlack: "#536166", brightRed: "#c7372e", brightGreen: "#3a7f2f", brightYellow: "#946800", brightBlue: "#2f74c0",
  brightMagenta: "#a04fa4", brightCyan: "#23807a", brightWhite: "#a9b4b6",
  selectionBackground: "#b9ddd8", selectionInactiveBackground: "#d7e6e4",
  scrollbarSliderBackground: "#85949866", scrollbarSliderHoverBackground: "#859498aa", scrollbarSliderActiveBackground: "#859498",
};

const DARK_THEME: ITheme = {
  black: "#273134", red: "#ff8a7e", green: "#8fd07f", yellow: "#ecb964", blue: "#7db8f5", magenta: "#dd9be2", cyan: "#62c4b8", white: "#d3dcdc",
  brightBlack: "#8b9b9e", brightRed: "#ffaba2", brightGreen: "#aee3a1", brightYellow: "#f5d08f", brightBlue: "#a5cffa",
  brightMagenta: "#ebbdef", brightCyan: "#92dbd2", brightWhite: "#ffffff",
  selectionBackground: "#2f5f5a", selectionInactiveBackground: "#2a3d3b",
  scrollbarSliderBackground: "#5d6d7199", scrollbarSliderHoverBackground: "#7d8d91aa", scrollbarSliderActiveBackground: "#9fb0b3",
};

/** Returns the theme that matches the computed colours of an element. */
export function terminalTheme(host: HTMLElement): ITheme {
  const { backgroundColor: background, color: foreground } = getComputedStyle(host);
  return { ...(isDark(background) ? DARK_THEME : LIGHT_THEME), background, foreground, cursor: foreground, cursorAccent: background };
}

/** Whether a computed colour is closer to black than to white. */
export function isDark(colour: string): boolean {
  const [red = 255, green = 255, blue = 255] = (colour.match(/\d+/g) ?? []).map(Number);
  return 0.3 * red + 0.59 * green + 0.11 * blue < 128;
}

/** Returns the colours of search matches. xterm.js accepts them only without alpha. */
export function searchColours(host: HTMLElement): { match: string; active: string } {
  return isDark(getComputedStyle(host).backgroundColor) ? { match: "#4a3f1c", active: "#8a6a10" } : { match: "#fbe9b0", active: "#f5c84b" };
}

/** Calls `onChange` whenever the page changes between light and dark, until the returned function is called. */
export function onThemeChange(onChange: () => void): () => void {
  const observer = new MutationObserver(onChange);
  observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const query = matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", onChange);
  return () => {
    observer.disconnect();
    query.removeEventListener("change", onChange);
  };
}
