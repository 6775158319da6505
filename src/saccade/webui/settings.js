// What a person chose, in this browser.

const NAME = "saccade-settings";

export const DEFAULTS = {
  lang: null, // of the browser
  theme: "auto",
  system: "",
  temperature: null, // the model's own
  top_p: null,
  max_tokens: null,
  seed: null,
  repetition_guard: 20,
  thinking_budget: null,
  pixels: null, // the model's own
  original: false,
  strict: true,
};

export function readSettings() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(NAME)) };
  } catch {
    return { ...DEFAULTS };
  }
}

export function writeSettings(settings) {
  try {
    localStorage.setItem(NAME, JSON.stringify(settings));
  } catch { /* no storage: they hold as long as the page */ }
}
