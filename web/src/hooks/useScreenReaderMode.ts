import { useEffect, useState } from "react";

/**
 * Returns whether terminals expose their text to screen readers, which slows down each line, and a function that changes this.
 * The choice is kept in local storage.
 */
export function useScreenReaderMode(): [boolean, (on: boolean) => void] {
  const [on, setOn] = useState(() => localStorage.getItem("screenReader") === "on");
  useEffect(() => localStorage.setItem("screenReader", on ? "on" : ""), [on]);
  return [on, setOn];
}
