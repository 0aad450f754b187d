import { useEffect, useState } from "react";

/** Whether terminals expose their text to screen readers, which slows down each line. Kept in local storage. */
export function useScreenReaderMode(): [boolean, (on: boolean) => void] {
  const [on, setOn] = useState(() => localStorage.getItem("screenReader") === "on");
  useEffect(() => localStorage.setItem("screenReader", on ? "on" : ""), [on]);
  return [on, setOn];
}
