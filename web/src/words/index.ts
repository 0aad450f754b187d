// The page's words, in the language of who reads it.

import { createContext, useContext } from "react";
import { en, type Words } from "./en";
import { isReason, REASONS } from "./reasons";
import { zh } from "./zh";

export type Language = "en" | "zh";
export type Word = keyof Words;

export interface Say {
  (word: Word, ...values: (string | number)[]): string;
  language: Language;
  reason: (reason: string | null) => string;
}

/** Says words with values in the places that are left for them. */
export function filling<Name extends string>(words: Record<Name, string>): (word: Name, ...values: (string | number)[]) => string {
  return (word, ...values) => words[word].replace(/\{(\d)\}/g, (_, number) => String(values[Number(number)] ?? ""));
}

export function speak(language: Language): Say {
  const words = { en, zh }[language];
  const say = filling<Word>(words);
  const reason = (name: string | null): string => (!name ? words.unknownEnd : isReason(name) ? REASONS[language][name] : name);
  return Object.assign(say, { language, reason });
}

export const Speech = createContext<Say>(speak("en"));
export const useSay = (): Say => useContext(Speech);
