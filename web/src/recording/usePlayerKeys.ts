// The keyboard shortcuts of the player.

import { useEffect } from "react";
import { type Player, SEEK_STEP_MS } from "./player";

/** Binds the player's keys on the whole page. A key that has another meaning in the focused element keeps that meaning. */
export function usePlayerKeys(player: Player | null): void {
  useEffect(() => {
    if (!player) return;
    const onKeyDown = (event: KeyboardEvent): void => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const action = playerAction(event.key, event.target as HTMLElement);
      if (!action) return;
      event.preventDefault();
      if (action === "toggle") player.toggle();
      else player.seek(player.snapshot().position + (action === "back" ? -SEEK_STEP_MS : SEEK_STEP_MS));
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, [player]);
}

/** Returns what a key does to the player, or null if the focused element handles the key. */
function playerAction(key: string, target: HTMLElement): "toggle" | "back" | "forward" | null {
  const onSlider = target.matches('input[type="range"]');
  if (!onSlider && target.matches("input, select, textarea:not(.xterm-helper-textarea)")) return null;
  if (document.querySelector("dialog[open]")) return null;
  if (key === " ") return target.matches("button, a, summary") ? null : "toggle";
  if (key === "ArrowLeft" || (onSlider && key === "ArrowDown")) return "back";
  return key === "ArrowRight" || (onSlider && key === "ArrowUp") ? "forward" : null;
}
