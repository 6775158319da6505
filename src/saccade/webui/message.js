// One message: what was asked with its pictures, or what was answered with everything that can be made of it.
import { html, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "./html.js";
import { callsAsText } from "./boxes.js";
import { errorWords } from "./errors.js";
import { copyText } from "./export.js";
import { HtmlView, htmlOf } from "./htmlview.js";
import { bytes, number, t } from "./i18n.js";
import { IconButton } from "./icons.js";
import { Markdown } from "./markdown.js";
import { Drawn, useMarks } from "./overlay.js";
import { addressOf } from "./pictures.js";
import { tokensOf } from "./plan.js";
import { Receipt, objectOf, receiptOf } from "./receipt.js";
import { Timing } from "./timing.js";
import { siblings } from "./tree.js";
import { VideoStrip } from "./video.js";

/** The records of parts, with addresses for <img>; they come from the store. */
function useRecords(session, parts) {
  const key = parts.map((part) => part.digest || part.url).join();
  const [records, set] = useState([]);
  useEffect(() => {
    let gone = false;
    Promise.all(parts.filter((part) => part.digest).map(async (part) => {
      const record = await session.record(part.digest);
      return record && { ...part, blob: record.blob, frames: record.frames, address: addressOf(record) };
    })).then((found) => gone || set(found.filter(Boolean)));
    return () => { gone = true; };
  }, [key]);
  return records;
}

export function Message({ session, node }) {
  return node.role === "user"
    ? html`<${Question} session=${session} node=${node} />`
    : html`<${Answer} session=${session} node=${node} />`;
}

function Branches({ session, node }) {
  const all = siblings(session.chat, node);
  if (all.length < 2) return null;
  const at = all.indexOf(node);
  return html`<span class="branches">
    <${IconButton} icon="left" name=${t("branch_before")} disabled=${at === 0} onClick=${() => session.select(all[at - 1])} />
    <span>${t("branch_of", { at: at + 1, all: all.length })}</span>
    <${IconButton} icon="right" name=${t("branch_after")} disabled=${at === all.length - 1} onClick=${() => session.select(all[at + 1])} />
  </span>`;
}

function Question({ session, node }) {
  const [editing, edit] = useState(false);
  const [text, setText] = useState(node.text);
  const area = useRef(null);
  const records = useRecords(session, node.parts || []);
  useLayoutEffect(() => {
    if (editing) area.current?.focus(); // before the next key
  }, [editing]);
  const limits = session.server.model?.media;
  const submit = () => { edit(false); session.edit(node, text); };
  const onKeyDown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
    if (event.key === "Escape") { event.stopPropagation(); edit(false); }
  };
  return html`
    <article class="message user" aria-label=${t("you")}>
      <div class="parts">
        ${records.map((record) => record.kind === "video"
          ? html`<${VideoStrip} record=${record} />`
          : html`<figure><img src=${record.address} alt=${record.name || t("picture")} loading="lazy" />
              <figcaption>${sizeWords(record, limits)}</figcaption></figure>`)}
        ${(node.parts || []).filter((part) => part.url).map((part) => html`<code class="url">${part.url}</code>`)}
      </div>
      ${editing
        ? html`<div class="editing">
            <textarea ref=${area} aria-label=${t("edit")} value=${text} rows="3" onInput=${(event) => setText(event.target.value)} onKeyDown=${onKeyDown}></textarea>
            <div class="tools"><button type="button" class="primary" onClick=${submit}>${t("edit_send")}</button>
            <button type="button" class="quiet" onClick=${() => edit(false)}>${t("cancel")}</button></div></div>`
        : node.text && html`<div class="bubble">${node.text}</div>`}
      <div class="acts">
        <${Branches} session=${session} node=${node} />
        ${!editing && html`<${IconButton} icon="edit" name=${t("edit")} class="icon-button edit" disabled=${Boolean(session.live)}
          onClick=${() => { setText(node.text); edit(true); }} />`}
      </div>
    </article>`;
}

/** "Sent as 1280×960, 1,200 tokens, 210 KB; original 4000×3000, 19 MB". */
export function sizeWords({ how, width, height, before, bytes: size }, limits) {
  const tokens = limits?.factor && width ? number(tokensOf(height, width, limits)) : "?";
  const values = { width, height, tokens, bytes: bytes(size) };
  if (!before || how === "as is") return t("sent_as_is", values);
  return t("sent_small", { ...values, width0: before.width, height0: before.height, bytes0: bytes(before.bytes) });
}

function Answer({ session, node }) {
  const [, again] = useReducer((n) => n + 1, 0);
  const live = session.lives.get(session.chat.id);
  const mine = live?.node === node ? live : null;
  useEffect(() => {
    if (!mine) return undefined;
    mine.addEventListener("paint", again);
    return () => mine.removeEventListener("paint", again);
  }, [mine]);
  const parts = useMemo(() => session.pictures(node), [node.id]);
  const records = useRecords(session, parts);
  const video = records.findLast((record) => record.kind === "video");
  const strip = useRef(null);
  const marks = useMarks(node);
  const [lit, hover] = useState(null);
  const article = useRef(null);
  const find = (sign) => [...article.current.querySelectorAll(".spot")].find((spot) => spot.signs.includes(sign))
    ?.scrollIntoView({ block: "nearest", inline: "nearest" });
  const onMark = records.length ? hover : null;
  const source = htmlOf(node.text);
  const isBare = source !== null && !node.text.includes("```");
  const receipt = useMemo(() => (mine ? null : receiptOf(objectOf(node.text))), [mine, node.text]);
  const pictures = records.filter((record) => record.kind === "image");
  const isEmpty = !node.text && !node.reasoning && !node.calls;
  return html`
    <article ref=${article} class="message model" aria-label=${t("model")} aria-busy=${Boolean(mine)}>
      ${node.reasoning && html`<details class="thoughts" open=${Boolean(mine) && !node.text}>
        <summary>${t(mine && !node.text ? "thinking" : "thoughts")}</summary>
        <${Markdown} text=${node.reasoning} /></details>`}
      ${node.text && html`<${Markdown} text=${shownText(node.text, isBare)} key=${Boolean(onMark)} onMark=${onMark} lit=${lit}
        onTime=${video ? (seconds) => strip.current?.(seconds) : null} />`}
      ${node.calls && html`<section class="calls" aria-label=${t("calls")}>
        <${Markdown} text=${`\`\`\`json\n${callsAsText(node.calls)}\n\`\`\``} onMark=${onMark} lit=${lit} /></section>`}
      ${video && node.text && html`<${VideoStrip} record=${video} seek=${strip} />`}
      ${mine && html`<${Waiting} node=${node} isEmpty=${isEmpty} />`}
      <${Drawn} marks=${marks} pictures=${records} live=${Boolean(mine)} frameAt=${frameOf(video)}
        lit=${lit} hover=${hover} find=${find} />
      ${source !== null && html`<${HtmlView} source=${source} picture=${pictures.at(-1)} live=${Boolean(mine)} />`}
      ${receipt && html`<${Receipt} receipt=${receipt} />`}
      ${!mine && html`<${Ending} session=${session} node=${node} />`}
    </article>`;
}

/** HTML that is not fenced is shown as code; calls in the text too, since a tag would vanish. */
function shownText(text, isBare) {
  if (isBare) return `\`\`\`html\n${text}\n\`\`\``;
  if (/^\s*(\{\s*"|\[\s*[{[])/.test(text)) return `\`\`\`json\n${pretty(text)}\n\`\`\``;
  return text.replace(/<tool_call>\s*([\s\S]*?)\s*(<\/tool_call>|$)/g, "\n```json\n$1\n```\n");
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2).replace(/\[\s+([\d.,\s-]+?)\s+\]/g, (_, list) => `[${list.replace(/\s+/g, " ")}]`);
  } catch {
    return text; // not complete yet, or no JSON after all
  }
}

const frameOf = (video) => video?.frames?.length
  && ((seconds) => video.frames.reduce((a, b) => (Math.abs(b.at - seconds) < Math.abs(a.at - seconds) ? b : a)).src);

function Waiting({ node, isEmpty }) {
  const [now, tick] = useState(Date.now());
  useEffect(() => {
    if (node.state !== "queued") return undefined;
    const timer = setInterval(() => tick(Date.now()), 500);
    return () => clearInterval(timer);
  }, [node.state]);
  if (node.state === "resuming") return html`<p class="state">${t("resuming")}</p>`;
  if (node.state === "queued" && node.queue) {
    const { until, place, code } = node.queue;
    const seconds = Math.max(0, Math.ceil((until - now) / 1000));
    const key = code === "loading" ? "queued_loading" : place ? "queued_place" : "queued";
    return html`<p class="state">${t(key, { seconds, place: number(place ?? 0) })}</p>`;
  }
  return isEmpty ? html`<p class="state dots"><span>${t("waiting")}</span><i></i><i></i><i></i></p>` : null;
}

function Ending({ session, node }) {
  const broken = node.state === "error" || node.state === "stopped" || node.finish === "length"
    || ["waiting", "streaming", "queued", "resuming"].includes(node.state);
  const cut = node.text && broken;
  const busy = Boolean(session.live);
  return html`
    ${node.state === "stopped" && html`<p class="state">${t("stopped")}</p>`}
    ${node.finish === "length" && node.state === "done" && html`<p class="state">${t("cut")}</p>`}
    ${node.state === "error" && html`<div class="failed" role="alert">
      ${errorWords(node.error).map((words) => html`<p>${words}</p>`)}</div>`}
    <${Timing} node=${node} />
    <div class="acts">
      <${Branches} session=${session} node=${node} />
      ${node.text && html`<${IconButton} icon="copy" name=${t("copy")} onClick=${(event) => copyText(node.text, event.currentTarget.querySelector("em"))}><em></em></${IconButton}>`}
      <${IconButton} icon="again" name=${t(node.state === "error" ? "again" : "regenerate")} disabled=${busy} onClick=${() => session.regenerate(node)} />
      ${cut && html`<button type="button" class="quiet" disabled=${busy} onClick=${() => session.goOn(node)}>${t("go_on")}</button>`}
    </div>`;
}
