// Translation of the page's text into English and Chinese.

import { createContext, useContext, useMemo } from "react";
import { en, type Messages } from "./en";
import { isReason, REASONS } from "./reasons";
import { zh } from "./zh";

export type Language = "en" | "zh";
export type MessageKey = keyof Messages;
type MessageTables<Key extends string> = Record<Language, Record<Key, string>>;

/** Looks up messages in one language. */
export interface Translate<Key extends string = MessageKey> {
  /** Returns a message with `{0}`, `{1}`, … replaced by the values. */
  (key: Key, ...values: (string | number)[]): string;
  language: Language;
  /** Returns the text for the reason that a session ended. A reason that the page does not know stays as it is. */
  reason: (reason: string | null) => string;
}

const COMMON: MessageTables<MessageKey> = { en, zh };

export const createTranslate = (language: Language): Translate => translateFrom(COMMON[language], language);

function translateFrom<Key extends string>(messages: Record<Key, string>, language: Language): Translate<Key> {
  const t = (key: Key, ...values: (string | number)[]): string =>
    messages[key].replace(/\{(\d)\}/g, (_, index) => String(values[Number(index)] ?? ""));
  const reason = (name: string | null): string => (!name ? COMMON[language].unknownEnd : isReason(name) ? REASONS[language][name] : name);
  return Object.assign(t, { language, reason });
}

export const TranslationContext = createContext<Translate>(createTranslate("en"));

/** Returns the common messages. */
export const useTranslation = (): Translate => useContext(TranslationContext);

/** Returns the common messages and those of a lazily loaded part. If both have a key, the part's message is used. */
export function usePartTranslation<Key extends string>(part: MessageTables<Key>): Translate<MessageKey | Key> {
  const { language } = useTranslation();
  return useMemo(() => translateFrom<MessageKey | Key>({ ...COMMON[language], ...part[language] }, language), [part, language]);
}
