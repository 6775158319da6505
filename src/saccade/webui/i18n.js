// Sentences of the page in the language of the person.
import { WORDS } from "./words.js";

export const LANGUAGES = { en: "English", zh: "中文" };

let language = "en";

/** Of a choice, or of the browser where there is none. */
export function setLanguage(chosen) {
  const wanted = chosen || navigator.languages?.find((one) => one.slice(0, 2) in LANGUAGES) || "en";
  language = wanted.slice(0, 2) in LANGUAGES ? wanted.slice(0, 2) : "en";
  return language;
}

export const currentLanguage = () => language;

/** The sentence of a key, with {names} filled in, and of {name|one|other} the word that goes with its number. */
export function t(key, values = {}) {
  const words = WORDS[key];
  if (!words) throw new Error(`no words for ${key}`);
  const text = words[language === "zh" ? 1 : 0];
  return text.replace(/\{(\w+)(?:\|(.*?)\|(.*?))?\}/g, (_, name, one, other) => {
    if (other !== undefined) return String(values[name]) === "1" ? one : other;
    return name in values ? String(values[name]) : "";
  });
}

export const has = (key) => key in WORDS;

export const number = (value, digits = 0) =>
  Number(value).toLocaleString(language === "zh" ? "zh-CN" : "en-US", { maximumFractionDigits: digits });

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  if (value < 1e6) return `${number(value / 1e3)} KB`;
  return `${number(value / 1e6, 1)} MB`;
}

/** Milliseconds for people: 38 ms, 1.4 s. */
export const duration = (ms) => (ms < 1000 ? `${number(ms, ms < 10 ? 1 : 0)} ms` : `${number(ms / 1000, 2)} s`);

export function when(time) {
  const date = new Date(time);
  const today = new Date().toDateString() === date.toDateString();
  const locale = language === "zh" ? "zh-CN" : "en-GB";
  return today
    ? date.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit" })
    : date.toLocaleDateString(locale, { day: "numeric", month: "short" });
}
