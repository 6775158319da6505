// Where a question is made: words, pictures, and what they will cost.
import { html, useEffect, useRef, useState } from "./html.js";
import { useForecast } from "./forecast.js";
import { bytes, duration, number, t } from "./i18n.js";
import { Icon, IconButton } from "./icons.js";
import { Camera, UrlDialog } from "./sources.js";
import { addressOf } from "./pictures.js";
import { sizeWords } from "./message.js";
import { TASKS, taskOf } from "./tasks.js";
import { useEvents } from "./html.js";

export function Composer({ session, area }) {
  useEvents(session, "draft");
  const [dialog, open] = useState(null);
  const pick = useRef(null);
  const { draft } = session;
  const busy = Boolean(session.live);
  const canSend = !busy && !session.sending && (draft.text.trim() || draft.items.length);
  useEffect(() => {
    const element = area.current;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight, 240)}px`;
  }, [draft.text]);
  const onKeyDown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      session.send();
    }
  };
  const onPaste = (event) => {
    const files = [...(event.clipboardData?.files || [])];
    if (!files.length) return;
    event.preventDefault();
    session.attach(files);
  };
  const task = taskOf(session.chat.task);
  return html`
    <form class="composer" onSubmit=${(event) => { event.preventDefault(); session.send(); }} onPaste=${onPaste}>
      ${task && html`<div class="task-line">
        <span class="chip"><${Icon} name=${task.icon} />${t(`task_${task.id}`)}
          <button type="button" aria-label=${t("task_clear")} title=${t("task_clear")} onClick=${() => session.setTask(null)}><${Icon} name="close" /></button></span>
        ${session.prompts(task).map((prompt) => html`<button type="button" class="quiet prompt" onClick=${() => use(session, area, prompt)}>${prompt}</button>`)}
      </div>`}
      ${draft.items.length > 0 && html`<ul class="items">
        ${draft.items.map((item, i) => html`<${Item} key=${item.key} session=${session} item=${item} at=${i} />`)}</ul>`}
      <textarea ref=${area} rows="1" aria-label=${t("ask")} placeholder=${t(draft.items.length ? "ask_text" : "ask")}
        value=${draft.text} onInput=${(event) => session.setText(event.target.value)} onKeyDown=${onKeyDown}></textarea>
      <div class="under">
        <input ref=${pick} type="file" hidden multiple accept="image/*,video/*,.heic,.heif,.mkv,.pdf"
          onChange=${(event) => { session.attach(event.target.files); event.target.value = ""; }} />
        <${IconButton} icon="clip" name=${t("attach")} onClick=${() => pick.current.click()} />
        <${IconButton} icon="camera" name=${t("camera")} onClick=${() => open("camera")} />
        <${IconButton} icon="link" name=${t("add_url")} onClick=${() => open("url")} />
        <${TaskMenu} session=${session} area=${area} />
        <${Forecast} session=${session} />
        ${busy
          ? html`<button type="button" class="send stop" onClick=${() => session.stop()} aria-label=${t("stop")} title=${`${t("stop")} (Esc)`}><${Icon} name="stop" /></button>`
          : html`<button type="submit" class="send" disabled=${!canSend} aria-label=${t("send")} title=${`${t("send")} (Enter)`}><${Icon} name="send" /></button>`}
      </div>
    </form>
    ${dialog === "camera" && html`<${Camera} session=${session} close=${() => open(null)} />`}
    ${dialog === "url" && html`<${UrlDialog} session=${session} close=${() => open(null)} />`}`;
}

/** Puts a prompt into the question and marks what is to be filled in. */
export function use(session, area, prompt) {
  session.setText(prompt);
  requestAnimationFrame(() => {
    const at = prompt.indexOf("…");
    area.current?.focus();
    if (at >= 0) area.current?.setSelectionRange(at, at + 1);
  });
}

function TaskMenu({ session, area }) {
  const choose = (event) => {
    const id = event.target.value || null;
    session.setTask(id);
    if (id && !session.draft.text) use(session, area, session.prompts(taskOf(id))[0]);
  };
  return html`<select class="task-select" aria-label=${t("tasks")} value=${session.chat.task || ""} onChange=${choose}>
    <option value="">${t("task_none")}</option>
    ${TASKS.map((task) => html`<option value=${task.id}>${t(`task_${task.id}`)}</option>`)}
  </select>`;
}

function Item({ session, item, at }) {
  const { items } = session.draft;
  const { record, url, preparing } = item;
  const name = record?.name || url || item.file?.name || t("picture");
  const move = (by) => {
    const next = items.filter((one) => one !== item);
    next.splice(at + by, 0, item);
    session.setItems(next);
  };
  const shown = record?.kind === "video" ? record.frames?.[0]?.src : record && addressOf(record);
  const isSmall = record && record.how !== "as is";
  const large = record?.before && session.limits && record.before.width * record.before.height > session.limits.max_pixels;
  return html`
    <li class="item" data-preparing=${String(Boolean(preparing))}>
      ${shown ? html`<img src=${shown} alt=${name} />` : html`<span class="blank"><${Icon} name=${url ? "link" : "eye"} /></span>`}
      <div class="about">
        <span class="name" title=${name}>${name}</span>
        <small>${preparing ? t("preparing") : url ? t("url_hint") : record.kind === "video" ? bytes(record.bytes) : describe(record, session)}</small>
        ${record?.state && html`<small class="held">${record.state === "held" ? t("on_server") : record.state === "sending" ? t("on_its_way") : ""}</small>`}
        ${record && large && item.file && html`<button type="button" class="quiet" disabled=${preparing}
          onClick=${() => session.redo(item, isSmall)}>${t(isSmall ? "use_original" : "use_small")}</button>`}
      </div>
      <span class="moves">
        ${at > 0 && html`<${IconButton} icon="left" name=${t("earlier", { name })} onClick=${() => move(-1)} />`}
        ${at < items.length - 1 && html`<${IconButton} icon="right" name=${t("later", { name })} onClick=${() => move(1)} />`}
        <${IconButton} icon="close" name=${t("remove", { name })} onClick=${() => session.setItems(items.filter((one) => one !== item))} />
      </span>
    </li>`;
}

function describe(record, session) {
  const words = sizeWords(record, session.limits);
  return record.how === "as is" ? words : `${words} (${t(record.how)})`;
}

function Forecast({ session }) {
  const told = useForecast(session);
  if (!told) return html`<span class="forecast"></span>`;
  const { tokens, ms } = told;
  const most = session.server.model?.max_model_len || Infinity;
  return html`<span class="forecast" aria-live="off">${t("forecast", { tokens: number(tokens) })}
    ${" · "}${tokens >= most ? html`<b class="bad">${t("forecast_long", { most: number(most) })}</b>` : ms === null ? t("forecast_none") : t("forecast_time", { time: duration(ms) })}</span>`;
}
