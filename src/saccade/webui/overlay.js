// The picture with what the answer says about it: boxes, points and actions, and the same as a list.
import { html, useMemo, useState } from "./html.js";
import { MarkReader, SCALE, callsAsText, marksAs } from "./boxes.js";
import { copyText, csvOf, fileName, saveBlob } from "./export.js";
import { t } from "./i18n.js";

const COLORS = ["#0d9488", "#d97706", "#7c3aed", "#dc2626", "#2563eb", "#65a30d", "#db2777", "#0891b2"];
const percent = (x) => `${(100 * x) / SCALE}%`;
const colorOf = (mark) => COLORS[mark.key % COLORS.length];

/** Reads the marks of an answer as it grows. */
export function useMarks(node) {
  const reader = useMemo(() => new MarkReader(), [node.id]);
  const text = node.calls ? `${node.text}\n${callsAsText(node.calls)}` : node.text;
  return reader.feed(text);
}

/** `pictures`: records of the conversation's pictures, with their blobs and addresses. `lit`: the sign of the mark that is pointed at, here or in the text; `hover` sets it, `find` goes to its place in the text. */
export function Drawn({ marks, pictures, live, frameAt, lit, hover, find }) {
  const [chosen, choose] = useState(null);
  const picture = pictures[chosen ?? pictures.length - 1];
  if (!picture || !marks.length) return null;
  const drawn = marks.filter((mark) => mark.at.length);
  const size = picture.before || picture;
  const copy = (form) => (event) => {
    const made = marksAs(form, marks, size, picture.name);
    copyText(form === "csv" ? csvOf(made) : made, event.currentTarget);
  };
  return html`
    <section class="card drawn" aria-label=${t("drawn")}>
      <header>
        <strong>${t("drawn")}</strong><span class="faint">${t("marks", { count: marks.length })}</span>
        ${pictures.length > 1 && html`<span class="tabs">${pictures.map((one, i) => html`
          <button type="button" class="quiet" aria-pressed=${one === picture} onClick=${() => choose(i)}>
            ${t("picture_of", { at: i + 1 })}</button>`)}</span>`}
      </header>
      <div class="stage-row">
        <div class="stage">
          ${picture.kind === "video" && frameAt
            ? html`<img src=${frameAt(drawn.at(-1)?.time || 0)} alt="" />`
            : html`<img src=${picture.address} alt=${picture.name || t("picture")} />`}
          ${drawn.map((mark) => html`<${Shape} key=${mark.key} mark=${mark} lit=${lit === mark.sign} hover=${hover} find=${find} />`)}
        </div>
        <ol class="marks">
          ${marks.map((mark) => html`
            <li key=${mark.key}>
              <button type="button" class="mark ${lit === mark.sign ? "lit" : ""}" style=${{ "--mark": colorOf(mark) }}
                onMouseEnter=${() => hover(mark.sign)} onMouseLeave=${(event) => hover(event.currentTarget.matches(":focus") ? mark.sign : null)}
                onFocus=${() => hover(mark.sign)} onBlur=${() => hover(null)} onClick=${() => find(mark.sign)} aria-label=${spoken(mark)}>
                <i></i><span>${mark.label || t("unlabelled")}</span>
                <code>${mark.at.join(", ")}</code>
              </button>
            </li>`)}
        </ol>
      </div>
      <footer class="tools">
        <button type="button" class="quiet" onClick=${copy("pixels")}>${t("copy_pixels")}</button>
        <button type="button" class="quiet" onClick=${copy("relative")}>${t("copy_relative")}</button>
        <button type="button" class="quiet" onClick=${copy("coco")}>${t("copy_coco")}</button>
        <button type="button" class="quiet" onClick=${copy("csv")}>${t("copy_csv")}</button>
        ${!live && picture.kind === "image" && html`
          <button type="button" class="quiet" onClick=${() => savePng(picture, marks)}>${t("save_png")}</button>`}
      </footer>
    </section>`;
}

function spoken({ kind, at: [x1, y1, x2, y2], label }) {
  const values = { label: label || t("unlabelled"), x1, y1, x2, y2 };
  return kind === "box" ? t("mark_box", values) : at2(values, kind);
}

const at2 = (values, kind) => (kind === "act" ? values.label : t("mark_point", values));

function Shape({ mark, lit, hover, find }) {
  const { kind, at: [x1, y1, x2, y2], label } = mark;
  const more = {
    onMouseEnter: () => hover(mark.sign), onMouseLeave: () => hover(null), onClick: () => find(mark.sign),
    class: `shape ${kind} ${lit ? "lit" : ""}`, "data-mark": mark.key, "aria-hidden": "true",
  };
  const color = { "--mark": colorOf(mark) };
  if (kind === "box") {
    const place = { left: percent(x1), top: percent(y1), width: percent(x2 - x1), height: percent(y2 - y1) };
    return html`<div ...${more} style=${{ ...color, ...place }}><span class=${y1 < 60 ? "inside" : ""}>${label}</span></div>`;
  }
  if (kind === "arrow") {
    return html`<svg ...${more} viewBox="0 0 ${SCALE} ${SCALE}" preserveAspectRatio="none" style=${color}>
      <line x1=${x1} y1=${y1} x2=${x2} y2=${y2} vector-effect="non-scaling-stroke" /></svg>
      <div ...${more} class="shape action ${lit ? "lit" : ""}" style=${{ ...color, left: percent(x2), top: percent(y2) }}><span>${label}</span></div>`;
  }
  return html`<div ...${more} style=${{ ...color, left: percent(x1), top: percent(y1) }}><span>${label}</span></div>`;
}

/** The picture in its full size with the marks on it. */
async function savePng(picture, marks) {
  const bitmap = await createImageBitmap(picture.blob);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const unit = Math.max(1, Math.round(Math.max(bitmap.width, bitmap.height) / 500));
  context.font = `600 ${7 * unit + 6}px system-ui, sans-serif`;
  for (const mark of marks) if (mark.at.length) paint(context, mark, bitmap, unit);
  saveBlob(fileName((picture.name || "picture").replace(/\.\w+$/, ""), "png"), await canvas.convertToBlob({ type: "image/png" }));
}

function paint(context, mark, { width, height }, unit) {
  const [x1, y1, x2, y2] = mark.at.map((x, i) => (x / SCALE) * (i % 2 ? height : width));
  Object.assign(context, { strokeStyle: colorOf(mark), fillStyle: colorOf(mark), lineWidth: 2 * unit });
  context.beginPath();
  if (mark.kind === "box") context.rect(x1, y1, x2 - x1, y2 - y1);
  else if (mark.kind === "arrow") {
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    context.arc(x2, y2, 6 * unit, 0, 7);
  } else context.arc(x1, y1, 6 * unit, 0, 7);
  context.stroke();
  if (!mark.label) return;
  const wide = context.measureText(mark.label).width + 6 * unit;
  const high = 9 * unit + 8;
  const top = y1 > high ? y1 - high : y1;
  context.fillRect(x1, top, wide, high);
  context.fillStyle = "#fff";
  context.fillText(mark.label, x1 + 3 * unit, top + high - 3 * unit - 1);
}
