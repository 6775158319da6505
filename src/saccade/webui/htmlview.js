// HTML that a model wrote, rendered where it can do nothing: a frame of no origin, without scripts and without network.
import { html, useEffect, useRef, useState } from "./html.js";
import { saveText } from "./export.js";
import { t } from "./i18n.js";

const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
const FRESH = 400;

/** The HTML of an answer: the last fenced block of it, or an answer that is nothing else. */
export function htmlOf(text) {
  const fences = [...text.matchAll(/```html\s*\n([\s\S]*?)(?:```|$)/gi)];
  if (fences.length) return fences.at(-1)[1];
  const bare = text.trim();
  return /^<(?!think|tool|points?\b)(!doctype|[a-z][a-z0-9]*)[\s>]/i.test(bare) && bare.includes("</") ? bare : null;
}

/** The document of the frame. The policy stands first: what comes later can only be stricter. */
export const documentOf = (source) =>
  `<!doctype html><meta http-equiv="Content-Security-Policy" content="${POLICY}"><meta charset="utf-8">` +
  `<style>body{font:16px system-ui,sans-serif;margin:12px;background:#fff;color:#111}</style>${source}`;

/** `picture`: what it was made from, if there is one. */
export function HtmlView({ source, picture, live }) {
  const [shown, show] = useState(source);
  const [swipe, setSwipe] = useState(false);
  const [at, setAt] = useState(50);
  const last = useRef(0);
  useEffect(() => {
    if (!live) return show(source);
    const wait = Math.max(0, last.current + FRESH - performance.now());
    const timer = setTimeout(() => { last.current = performance.now(); show(source); }, wait);
    return () => clearTimeout(timer);
  }, [source, live]);
  const frame = html`<iframe title=${t("html_view")} sandbox="" referrerpolicy="no-referrer" srcdoc=${documentOf(shown)}></iframe>`;
  const ratio = picture?.width ? `${picture.width} / ${picture.height}` : "4 / 3";
  return html`
    <section class="card rendered" aria-label=${t("html_view")}>
      <header><strong>${t("html_view")}</strong><span class="faint">${t("html_note")}</span></header>
      ${swipe && picture
        ? html`<div class="swipe" style=${{ aspectRatio: ratio, maxWidth: `${Math.max(360, Math.min(picture.width, 960))}px` }}>
            <img src=${picture.address} alt=${picture.name || t("picture")} />
            <div class="over" style=${{ clipPath: `inset(0 0 0 ${at}%)` }}>${frame}</div>
            <div class="edge" style=${{ left: `${at}%` }}></div>
          </div>
          <label class="range" style=${{ maxWidth: `${Math.max(360, Math.min(picture.width, 960))}px` }}>${t("html_swipe")}
            <input type="range" min="0" max="100" value=${at} onInput=${(event) => setAt(Number(event.target.value))} /></label>`
        : html`<div class="beside">
            ${picture && html`<img src=${picture.address} alt=${picture.name || t("picture")} />`}
            <div class="framed" style=${{ aspectRatio: ratio }}>${frame}</div>
          </div>`}
      <footer class="tools">
        ${picture && html`<button type="button" class="quiet" onClick=${() => setSwipe(!swipe)}>
          ${t(swipe ? "html_beside" : "html_over")}</button>`}
        <button type="button" class="quiet" onClick=${() => saveText("page.html", source, "text/html")}>${t("html_save")}</button>
      </footer>
    </section>`;
}
