// What leaves the page: to the clipboard or as files.
import { t } from "./i18n.js";

/** Copies, and says so on the button for a moment. */
export async function copyText(text, button) {
  let said = "copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!selected(text)) said = "copy_failed";
  }
  if (!button) return;
  const before = button.textContent;
  button.textContent = t(said);
  setTimeout(() => { button.textContent = before; }, 1500);
}

/** The older way, which works where the page is not on https or localhost. */
function selected(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.style.position = "fixed";
  area.style.opacity = "0";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

export function saveBlob(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export const saveText = (name, text, type) => saveBlob(name, new Blob([text], { type: `${type};charset=utf-8` }));

/** Rows as CSV (RFC 4180). A cell that a spreadsheet would take for a formula gets an apostrophe. */
export function csvOf(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = /^[=+@\t\r]|^-(?![\d.,]+$)/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

export const fileName = (title, ending) =>
  `${(title || "chat").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "chat"}.${ending}`;
