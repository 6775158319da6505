// Markdown of a model becomes elements of ours: parsed block by block, cleaned, with nothing loaded from anywhere.
import { html, useLayoutEffect, useRef } from "./html.js";
import { t } from "./i18n.js";
import { Marked } from "./vendor/marked.js";
import "./vendor/purify.js";
import { MarkReader } from "./boxes.js";
import { copyText, csvOf, saveText } from "./export.js";

const purify = globalThis.DOMPurify;
const CLEAN = {
  FORBID_TAGS: ["style", "form", "input", "button", "textarea", "select", "option", "iframe", "video", "audio", "svg", "link", "meta", "dialog"],
  FORBID_ATTR: ["style", "id", "name", "srcset", "background", "poster"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

purify.addHook("uponSanitizeAttribute", (node, data) => {
  if (data.attrName === "class" && !/^(language-[\w+#.-]+|math|math display)$/.test(data.attrValue)) data.keepAttr = false;
  // A picture from elsewhere would tell its server what is said here.
  if (data.attrName === "src" && !/^data:image\/(png|jpeg|webp|gif);/.test(data.attrValue)) data.keepAttr = false;
});
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.tagName === "IMG" && !node.getAttribute("src")) {
    node.replaceWith(`[${node.getAttribute("alt") || t("picture")}]`);
  }
});

const escaped = (text) => text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
const math = (name, level, start, rule, display) => ({
  name, level,
  start: (text) => { const at = text.search(start); return at < 0 ? undefined : at; },
  tokenizer(text) {
    const match = rule.exec(text);
    return match ? { type: name, raw: match[0], text: (match[1] ?? match[2]).trim() } : undefined;
  },
  renderer: (token) => `<span class="math${display ? " display" : ""}">${escaped(token.text)}</span>`,
});

const marked = new Marked({ gfm: true, breaks: true });
marked.use({
  extensions: [
    math("blockMath", "block", /\$\$|\\\[/, /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])(?:\n|$)/, true),
    math("inlineMath", "inline", /\$|\\\(/, /^(?:\$(?![\s$])([^$\n]*?[^\s$\\])\$(?!\d)|\\\(([\s\S]+?)\\\))/, false),
  ],
});

/** What stands at the end and means something everywhere. */
const REFERENCE = /^ {0,3}\[[^\]\n]+\]:/m;

/** An answer as elements. `onTime` (seconds) is called for a time in the text that somebody clicks, `onMark` (the sign of
 * a mark, or null) while somebody points at the words that say where something is; those of the sign `lit` are lit. */
export function Markdown({ text, onTime, onMark, lit }) {
  const place = useRef(null);
  const shown = useRef([]);
  useLayoutEffect(() => {
    const blocks = REFERENCE.test(text) ? [text] : split(text);
    const have = shown.current;
    let same = 0;
    while (same < blocks.length && same < have.length && have[same].source === blocks[same]) same += 1;
    for (const old of have.splice(same)) old.element.remove();
    for (const source of blocks.slice(same)) {
      const element = document.createElement("div");
      element.append(rendered(source));
      finish(element, onTime, onMark);
      place.current.append(element);
      have.push({ source, element });
    }
  }, [text]);
  useLayoutEffect(() => {
    for (const spot of place.current.querySelectorAll(".spot")) spot.classList.toggle("lit", spot.signs.includes(lit));
  }, [text, lit]);
  return html`<div class="markdown" ref=${place}></div>`;
}

/** A model's words as clean elements: no scripts, styles, forms or frames, nothing with an address of its own to load. */
function rendered(source) {
  return purify.sanitize(marked.parse(source), CLEAN);
}

/** Pieces that can be rendered apart, so that a long answer is not parsed again for each word: cut at empty lines outside
 * of code, where what follows is no continuation of a list, a quote or a table. */
export function split(text) {
  const blocks = [];
  let begin = 0;
  let fence = null;
  let at = 0;
  for (const line of text.split("\n")) {
    const mark = /^ {0,3}(`{3,}|~{3,}|\$\$)/.exec(line)?.[1];
    if (mark && !fence) fence = mark;
    else if (mark && fence && mark.startsWith(fence)) fence = null;
    const end = at + line.length + 1;
    const next = text[end];
    if (!fence && !line.trim() && next && /[\p{L}#`~$*]/u.test(next) && !/^\*\s/.test(text.slice(end, end + 2)) && at > begin) {
      blocks.push(text.slice(begin, end));
      begin = end;
    }
    at = end;
  }
  blocks.push(text.slice(begin));
  return blocks;
}

function finish(root, onTime, onMark) {
  if (onMark) spots(root, onMark);
  for (const pre of root.querySelectorAll("pre")) codeBar(pre);
  for (const table of root.querySelectorAll("table")) tableBar(table);
  for (const place of root.querySelectorAll(".math")) draw(place);
  if (onTime) times(root, onTime);
}

function button(label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "quiet";
  made.textContent = label;
  made.onclick = () => act(made);
  return made;
}

function codeBar(pre) {
  const code = pre.querySelector("code");
  const language = /language-(\S+)/.exec(code?.className || "")?.[1] || "";
  const bar = document.createElement("div");
  bar.className = "bar";
  const name = document.createElement("span");
  name.textContent = language;
  bar.append(name, button(t("copy"), (self) => copyText((code || pre).textContent, self)));
  if (language === "csv") bar.append(button(t("table_csv"), () => saveText("table.csv", code.textContent, "text/csv")));
  const frame = document.createElement("div");
  frame.className = "code";
  pre.replaceWith(frame);
  pre.tabIndex = 0; // it scrolls, so the keyboard must reach it
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", language || t("copy"));
  frame.append(bar, pre);
}

function tableBar(table) {
  const frame = document.createElement("div");
  frame.className = "table";
  frame.tabIndex = 0;
  table.replaceWith(frame);
  const rows = [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  frame.append(table, button(t("table_csv"), () => saveText("table.csv", csvOf(rows), "text/csv")));
}

let katex = null;
async function draw(place) {
  const text = place.textContent;
  katex ??= import("./vendor/katex.js");
  await katex;
  try {
    globalThis.katex.render(text, place, {
      output: "mathml", displayMode: place.classList.contains("display"), throwOnError: false, maxExpand: 500, maxSize: 20,
    });
  } catch { /* what is no formula stays as it was written */ }
}

const MARKS = /bbox|point|coordinate|"arguments"|<!--/;
const TIME = /\b(\d{1,2}):(\d{2})(?:[.:](\d{1,2}))?\b|\b(\d+(?:\.\d+)?)\s?(?:seconds?|s)\b/g;

/** The texts below an element for which `rule` finds something. */
function textsWith(root, rule) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) if (walker.currentNode.data.search(rule) >= 0) found.push(walker.currentNode);
  return found;
}

/** Words that say where something is, each a span that knows the signs of its marks. */
function spots(root, onMark) {
  for (const node of textsWith(root, MARKS)) {
    const { data } = node;
    const pieces = [];
    let from = 0;
    for (const mark of new MarkReader().feed(`${data}\n`).sort((a, b) => a.from - b.from)) {
      if (mark.from < from) { // several places in the same words
        if (pieces.at(-1)?.signs) pieces.at(-1).signs.push(mark.sign);
        continue;
      }
      const spot = Object.assign(document.createElement("span"), { className: "spot", signs: [mark.sign] });
      spot.textContent = data.slice(mark.from, mark.to);
      spot.onmouseenter = () => onMark(mark.sign);
      spot.onmouseleave = () => onMark(null);
      pieces.push(data.slice(from, mark.from), spot);
      from = mark.to;
    }
    if (pieces.length) node.replaceWith(...pieces, data.slice(from));
  }
}

/** Times in the text lead to that moment of the video. */
function times(root, onTime) {
  for (const node of textsWith(root, TIME)) {
    const pieces = [];
    let from = 0;
    for (const match of node.data.matchAll(TIME)) {
      const seconds = secondsOf(match);
      pieces.push(node.data.slice(from, match.index), button(match[0], () => onTime(seconds)));
      pieces.at(-1).className = "time";
      from = match.index + match[0].length;
    }
    node.replaceWith(...pieces, node.data.slice(from));
  }
}

function secondsOf([, minutes, seconds, hundredths, plain]) {
  return plain ? Number(plain) : 60 * Number(minutes) + Number(`${seconds}.${hundredths || 0}`);
}
