// The user's language, kept in the browser's local storage.

import { useEffect, useMemo, useState } from "react";
import { createTranslate, type Language, type Translate } from "./index";

/** Returns the stored language. Without one, returns the browser's language. */
function initialLanguage(): Language {
  const stored = localStorage.getItem("language");
  if (stored === "en" || stored === "zh") return stored;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** Returns the messages in the user's language, and a function that switches to the other language. */
export function useLanguage(): [Translate, () => void] {
  const [language, setLanguage] = useState(initialLanguage);
  useEffect(() => {
    localStorage.setItem("language", language);
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  }, [language]);
  const t = useMemo(() => createTranslate(language), [language]);
  return [t, () => setLanguage(language === "en" ? "zh" : "en")];
}
