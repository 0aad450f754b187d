// What a key press does in the terminal.

export interface Key {
  type: string;
  key: string;
  code: string;
  ctrlKey: boolean;
  shiftKey: boolean;
  altKey: boolean;
  metaKey: boolean;
  isComposing: boolean;
  /** Whether it is held down. */
  repeat: boolean;
}

export interface Now {
  /** Whether text is selected. */
  selected: boolean;
  /** Whether there is no session to type into. */
  over: boolean;
}

/**
 * `send` is the shell's; `browser` is left to the browser, which pastes, for one; `nothing` is nobody's.
 */
export type Deed = "send" | "browser" | "copy" | "search" | "again" | "nothing";

export function deed(key: Key, now: Now): Deed {
  const letter = shortcut(key);
  if (letter === "ctrl+shift+f") return press(key, "search");
  // Without a selection too: the browser would open its inspector.
  if (letter === "ctrl+shift+c") return press(key, now.selected ? "copy" : "nothing");
  if (letter === "ctrl+shift+v") return "browser";
  if (letter === "ctrl+c" && now.selected) return press(key, "copy");
  if (!now.over) return "send";
  if (key.key === "Enter" && !key.isComposing && !key.repeat) return press(key, "again");
  return "browser";
}

/** A press does it; letting go does nothing more. */
function press(key: Key, deed: Deed): Deed {
  return key.type === "keydown" ? deed : "nothing";
}

/** Ctrl and a letter, as on a Latin keyboard where the keys have other letters. */
function shortcut({ key, code, ctrlKey, shiftKey, altKey, metaKey }: Key): string {
  if (!ctrlKey || altKey || metaKey) return "";
  const letter = /^[a-z]$/i.test(key) ? key : (/^Key([A-Z])$/.exec(code)?.[1] ?? "");
  return `ctrl+${shiftKey ? "shift+" : ""}${letter.toLowerCase()}`;
}
