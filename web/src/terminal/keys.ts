// The actions of keys in the web terminal.

/** The properties of a `KeyboardEvent` that matter here. */
export interface KeyPress {
  type: string;
  key: string;
  code: string;
  ctrlKey: boolean;
  shiftKey: boolean;
  altKey: boolean;
  metaKey: boolean;
  isComposing: boolean;
  /** Whether the key is being held down. */
  repeat: boolean;
}

interface TerminalState {
  /** Whether text is selected. */
  hasSelection: boolean;
  /** Whether the session has ended. */
  isEnded: boolean;
}

/** `send` passes the key to the shell, `browser` leaves it to the browser (which pastes, for example), `ignore` drops it. */
export type KeyAction = "send" | "browser" | "copy" | "search" | "restart" | "ignore";

/** Decides what a key does. */
export function keyAction(key: KeyPress, terminal: TerminalState): KeyAction {
  const combination = shortcut(key);
  if (combination === "ctrl+shift+f") return onlyOnKeyDown(key, "search");
  // The key is handled even without a selection, because the browser would open its inspector.
  if (combination === "ctrl+shift+c") return onlyOnKeyDown(key, terminal.hasSelection ? "copy" : "ignore");
  if (combination === "ctrl+shift+v") return "browser";
  if (combination === "ctrl+c" && terminal.hasSelection) return onlyOnKeyDown(key, "copy");
  if (!terminal.isEnded) return "send";
  if (key.key === "Enter" && !key.isComposing && !key.repeat) return onlyOnKeyDown(key, "restart");
  return "browser";
}

/** Restricts an action to the press of a key. The release of the key does nothing. */
function onlyOnKeyDown(key: KeyPress, action: KeyAction): KeyAction {
  return key.type === "keydown" ? action : "ignore";
}

/** Returns a combination with Ctrl, like `ctrl+shift+c`, or "". On a keyboard without Latin letters the physical key counts. */
function shortcut({ key, code, ctrlKey, shiftKey, altKey, metaKey }: KeyPress): string {
  if (!ctrlKey || altKey || metaKey) return "";
  const letter = /^[a-z]$/i.test(key) ? key : (/^Key([A-Z])$/.exec(code)?.[1] ?? "");
  return `ctrl+${shiftKey ? "shift+" : ""}${letter.toLowerCase()}`;
}
