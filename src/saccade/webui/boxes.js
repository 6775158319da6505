// Boxes, points and actions of an answer, found while it is still being written. Pure.
//
// Coordinates of this model family run from 0 to 1000 over the picture's width and height.
export const SCALE = 1000;

const KEYS = /"(bbox_2d|bbox|point_2d|point|coordinate|arguments)"/;

/** Reads a growing text once; `marks` has what is complete so far. */
export class MarkReader {
  constructor() {
    this.text = "";
    this.at = 0;
    this.open = []; // where each brace that is not closed began
    this.inString = false;
    this.marks = [];
    this.seen = 0; // of the other forms
  }

  /** The whole text so far; it must begin with what was given before, or everything begins anew. */
  feed(text) {
    if (!text.startsWith(this.text)) Object.assign(this, new MarkReader());
    this.text = text;
    for (; this.at < text.length; this.at++) this.step(text[this.at]);
    this.others(text);
    return this.marks;
  }

  step(sign) {
    if (this.inString) {
      if (sign === "\\") this.at += 1;
      else if (sign === '"' || sign === "\n") this.inString = false; // no string of JSON has a line break
    } else if (sign === "{") {
      this.open.push(this.at);
    } else if (this.open.length && sign === '"') {
      this.inString = true;
    } else if (this.open.length && sign === "}") {
      this.close(this.open.pop(), this.at + 1);
    }
  }

  close(from, to) {
    const source = this.text.slice(from, to);
    if (source.length > 4000 || !KEYS.test(source)) return;
    let found;
    try { found = JSON.parse(source); } catch { return; }
    for (const mark of marksOf(found)) this.push(mark, from, to);
  }

  push(mark, from, to) {
    this.marks.push({ ...mark, from, to, key: this.marks.length, sign: signOf(mark) });
  }

  /** Elements with data-bbox, comments with a box in Markdown, points as XML; whole ones only. */
  others(text) {
    const rule = /<(\w+)[^<>]*\bdata-bbox="([\d.\s,]+)"[^<>]*>([^<]*)|<!--\s*(\w+)\s*\(([\d.\s,]+)\)\s*-->|<points?\s([^<>]*)>([^<]*)<\/points?>/g;
    rule.lastIndex = this.seen;
    for (let match = rule.exec(text); match; match = rule.exec(text)) {
      // The label of an element is not complete before something follows it.
      if (rule.lastIndex === text.length && match[1]) break;
      this.seen = rule.lastIndex;
      const [, tag, bbox, inner, kind, area, points, name] = match;
      const numbers = (bbox || area || "").split(/[\s,]+/).map(Number);
      if (points) this.points(points, name, match.index);
      else if (isBox(numbers)) {
        this.push({ kind: "box", at: ordered(numbers), label: inner?.trim() || kind || tag }, match.index, rule.lastIndex);
      }
    }
  }

  points(attributes, name, from) {
    const values = Object.fromEntries([...attributes.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value]));
    for (const [key, x] of Object.entries(values)) {
      const y = values[key.replace(/^x/, "y")];
      if (/^x\d*$/.test(key) && y) {
        this.push({ kind: "point", at: [Number(x), Number(y)], label: values.alt || name.trim() }, from, this.seen);
      }
    }
  }
}

/** What two marks have in common that say the same, whichever text they were found in. */
const signOf = ({ kind, at, label }) => JSON.stringify([kind, at, label]);

const isBox = (list) => Array.isArray(list) && list.length === 4 && list.every(Number.isFinite);
const isPoint = (list) => Array.isArray(list) && list.length === 2 && list.every(Number.isFinite);
const clamp = (x) => Math.min(SCALE, Math.max(0, x));
const ordered = ([x1, y1, x2, y2]) =>
  [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)].map(clamp);

/** The marks of one JSON object; of its parts those have been found already. */
export function marksOf(found) {
  const { bbox_2d, bbox, point_2d, point, label, text_content: said, text, time, name, arguments: args } = found;
  const words = label ?? said ?? text ?? name ?? "";
  const more = time === undefined ? {} : { time: Number(time) };
  const area = bbox_2d ?? bbox;
  if (isBox(area)) return [{ kind: "box", at: ordered(area), label: String(words), ...more }];
  const spot = point_2d ?? point;
  if (isPoint(spot)) return [{ kind: "point", at: spot.map(clamp), label: String(words), ...more }];
  if (args && typeof args === "object" && args.action) return actions(args);
  return [];
}

/** Of computer_use and mobile_use: where it acts, and with what: a text, keys, a button, pixels, seconds or how it ended. */
function actions({ action, coordinate, coordinate2, text, keys, button, pixels, time, status }) {
  const what = text ?? (Array.isArray(keys) ? keys.join("+") : keys) ?? button ?? pixels ?? time ?? status;
  const label = what === undefined || what === "" ? String(action) : `${action}: ${what}`;
  if (isPoint(coordinate) && isPoint(coordinate2)) {
    return [{ kind: "arrow", at: [...coordinate, ...coordinate2].map(clamp), label }];
  }
  return isPoint(coordinate) ? [{ kind: "action", at: coordinate.map(clamp), label }] : [{ kind: "act", at: [], label }];
}

/** The calls of a model, which came as calls and not as text, in the form that the reader knows. */
export const callsAsText = (calls) =>
  (calls || []).map(({ name, arguments: text }) => `{"name": ${JSON.stringify(name)}, "arguments": ${text}}`).join("\n");

/** The form of marks that others read: "pixels", "relative", "coco" or "csv". `size` {width, height}. */
export function marksAs(form, marks, { width, height }, file = "") {
  const drawn = marks.filter((mark) => mark.at.length);
  const scaled = (at) => at.map((x, i) => Math.round((x / SCALE) * (i % 2 ? height : width)));
  if (form === "relative" || form === "pixels") {
    const list = drawn.map(({ kind, at, label }) => ({
      [kind === "box" ? "bbox_2d" : "point_2d"]: form === "pixels" ? scaled(at) : at, label,
    }));
    return `[\n${list.map((one) => `  ${JSON.stringify(one)}`).join(",\n")}\n]\n`;
  }
  if (form === "coco") return coco(drawn, scaled, { width, height }, file);
  const rows = drawn.map(({ kind, at, label }) => [kind, label, ...(kind === "box" ? scaled(at) : [...scaled(at).slice(0, 2), "", ""])]);
  return [["kind", "label", "x1", "y1", "x2", "y2"], ...rows];
}

function coco(marks, scaled, size, file) {
  const boxes = marks.filter((mark) => mark.kind === "box");
  const names = [...new Set(boxes.map((mark) => mark.label))];
  const annotations = boxes.map(({ at, label }, i) => {
    const [x1, y1, x2, y2] = scaled(at);
    const bbox = [x1, y1, x2 - x1, y2 - y1];
    return { id: i + 1, image_id: 1, category_id: names.indexOf(label) + 1, bbox, area: bbox[2] * bbox[3], iscrowd: 0 };
  });
  const categories = names.map((name, i) => ({ id: i + 1, name }));
  return JSON.stringify({ images: [{ id: 1, file_name: file, ...size }], annotations, categories }, null, 2);
}
