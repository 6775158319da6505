// Dialogs: settings, shortcuts, the key. The browser keeps the focus inside and gives it back.
import { html, useEffect, useRef, useState } from "./html.js";
import { LANGUAGES, number, t } from "./i18n.js";
import { IconButton } from "./icons.js";

export function Dialog({ title, close, children }) {
  const place = useRef(null);
  useEffect(() => {
    place.current.showModal();
    place.current.querySelector("[autofocus]")?.focus();
  }, []);
  return html`
    <dialog ref=${place} aria-label=${title} onClose=${close}
      onClick=${(event) => event.target === place.current && close()} onKeyDown=${(event) => event.key === "Escape" && event.stopPropagation()}>
      <header><h2>${title}</h2><${IconButton} icon="close" name=${t("close")} onClick=${close} /></header>
      <div class="body">${children}</div>
    </dialog>`;
}

const KEYS = [
  ["Enter", "k_send"], ["Shift + Enter", "k_line"], ["Esc", "k_stop"], ["Ctrl + Shift + O", "k_new"], ["Ctrl + K", "k_search"],
  ["Ctrl + ,", "k_settings"], ["/", "k_focus"], ["Ctrl + ↑", "k_edit"], ["?", "k_help"],
];

export const Shortcuts = ({ close }) => html`
  <${Dialog} title=${t("shortcuts")} close=${close}>
    <dl class="keys">${KEYS.map(([keys, words]) => html`<div><dt><kbd>${keys}</kbd></dt><dd>${t(words)}</dd></div>`)}</dl>
  </${Dialog}>`;

export function Settings({ session, close }) {
  const { settings } = session;
  const media = session.server.model?.media;
  const set = (name) => (event) => session.set({ [name]: event.target.type === "checkbox" ? event.target.checked : event.target.value });
  const setNumber = (name) => (event) => session.set({ [name]: event.target.value === "" ? null : Number(event.target.value) });
  const line = (name, more) => html`
    <label>${t(`s_${more.words || name}`)}
      <input type="number" value=${settings[name] ?? ""} placeholder=${t(more.none || "s_model_default")} ...${more.range} onChange=${setNumber(name)} /></label>`;
  return html`
    <${Dialog} title=${t("settings")} close=${close}>
      <fieldset><legend>${t("s_look")}</legend>
        <label>${t("s_lang")}<select value=${settings.lang || ""} onChange=${(event) => session.set({ lang: event.target.value || null })}>
          <option value="">${t("s_lang_auto")}</option>
          ${Object.entries(LANGUAGES).map(([code, name]) => html`<option value=${code}>${name}</option>`)}</select></label>
        <label>${t("s_theme")}<select value=${settings.theme} onChange=${set("theme")}>
          ${["auto", "light", "dark"].map((one) => html`<option value=${one}>${t(`s_${one}`)}</option>`)}</select></label>
      </fieldset>
      <fieldset><legend>${t("s_answers")}</legend>
        <label class="wide">${t("s_system")}<textarea rows="3" value=${settings.system} onChange=${set("system")}></textarea></label>
        ${line("temperature", { range: { min: 0, max: 2, step: 0.1 } })}
        ${line("top_p", { range: { min: 0.05, max: 1, step: 0.05 } })}
        ${line("max_tokens", { range: { min: 1, step: 1 } })}
        ${line("seed", { range: { min: 0, step: 1 } })}
        ${line("thinking_budget", { words: "thinking", range: { min: 0, step: 1 } })}
        ${line("repetition_guard", { words: "guard", none: "s_off", range: { min: 2, step: 1 } })}
        <label class="check"><input type="checkbox" checked=${settings.strict} onChange=${set("strict")} />${t("s_strict")}</label>
      </fieldset>
      <fieldset><legend>${t("s_pictures")}</legend>
        ${media?.factor && html`<label class="wide">${t("s_pixels")}: ${settings.pixels ? `${number(settings.pixels)} = ${number(settings.pixels / media.factor ** 2)} token` : t("s_model_default")}
          <input type="range" min=${media.factor ** 2 * 16} max=${media.max_pixels} step=${media.factor ** 2}
            value=${settings.pixels || media.max_pixels} onInput=${(event) => session.set({ pixels: Number(event.target.value) >= media.max_pixels - media.factor ** 2 ? null : Number(event.target.value) })} /></label>`}
        <label class="check"><input type="checkbox" checked=${settings.original} onChange=${set("original")} />${t("s_original")}</label>
      </fieldset>
      <fieldset><legend>${t("s_access")}</legend><${KeyField} session=${session} /></fieldset>
      <div class="tools">
        <button type="button" class="quiet" onClick=${() => session.resetSettings()}>${t("s_reset")}</button>
        <button type="button" class="quiet danger" onClick=${() => clearAll(session)}>${t("s_clear")}</button>
      </div>
    </${Dialog}>`;
}

async function clearAll(session) {
  if (!confirm(t("s_clear_sure"))) return;
  await session.db.clear();
  session.chats = [];
  session.startChat();
}

export function KeyField({ session, onDone }) {
  const [key, set] = useState(session.api.key);
  const [wrong, mark] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    session.api.key = key.trim();
    await session.connect();
    if (session.server.status === "locked") mark(true);
    else onDone?.();
  };
  return html`
    <form class="key" onSubmit=${submit}>
      <label class="wide">${t("s_key")}<input type="password" autocomplete="off" spellcheck="false" value=${key} onInput=${(event) => { set(event.target.value); mark(false); }} /></label>
      <p class="faint">${wrong ? html`<span role="alert" class="bad">${t("key_wrong")}</span>` : t("s_key_note")}</p>
      <div class="tools"><button type="submit" class="primary">${t("key_use")}</button></div>
    </form>`;
}
