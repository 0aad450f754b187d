import { useEffect } from "react";

/** Calls `action` when the key is pressed outside text fields and dialogs. */
export function useShortcut(key: string, action: (event: KeyboardEvent) => void): void {
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent): void => {
      const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
      if (event.key === key && !isTyping && !document.querySelector("dialog[open]")) action(event);
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, [key, action]);
}
