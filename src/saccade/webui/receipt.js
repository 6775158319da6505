// A receipt that was read: its items, and whether they make the total.
import { html } from "./html.js";
import { csvOf, saveText } from "./export.js";
import { t } from "./i18n.js";

/** The JSON object of an answer, fenced or bare; null where there is none. */
export function objectOf(text) {
  const inner = /```(?:json)?\s*\n([\s\S]*?)```/.exec(text)?.[1] ?? text;
  const from = inner.indexOf("{");
  const to = inner.lastIndexOf("}");
  if (from < 0 || to < from) return null;
  try {
    return JSON.parse(inner.slice(from, to + 1));
  } catch {
    return null;
  }
}

/** Cents of a written amount in either style: "1,234.50", "1.234,50 €", 12.5; null where it is none. */
export function cents(written) {
  if (typeof written === "number") return Math.round(written * 100);
  const digits = String(written ?? "").replace(/[^\d.,-]/g, "");
  if (!/\d/.test(digits)) return null;
  const point = Math.max(digits.lastIndexOf("."), digits.lastIndexOf(","));
  const isFraction = point >= 0 && digits.length - point - 1 <= 2;
  const whole = (isFraction ? digits.slice(0, point) : digits).replace(/[.,]/g, "");
  const part = isFraction ? digits.slice(point + 1).padEnd(2, "0") : "00";
  const value = Math.abs(Number(whole || 0)) * 100 + Number(part);
  return digits.startsWith("-") ? -value : value;
}

const first = (object, ...names) => names.map((name) => object[name]).find((value) => value !== undefined);
export const money = (value) => (value / 100).toFixed(2);

const SUMS = ["subtotal", "tax", "vat", "sales_tax", "total", "grand_total", "total_due", "amount"];

/** {fields, items, tax, total, sum, verdict} of an object that looks like a receipt, else null. `fields`: [name, value] of
 * what else is told of it, a shop or a date. Verdict: "ok", "off" or "unknown". Prices are of whole rows; where only that makes the total, they are of one piece. */
export function receiptOf(object) {
  const rows = object && first(object, "items", "line_items", "products");
  if (!Array.isArray(rows) || !rows.length || rows.some((row) => typeof row !== "object" || !row)) return null;
  const items = rows.map((row) => ({
    name: String(first(row, "name", "item", "description", "product") ?? ""),
    quantity: Number(first(row, "quantity", "qty", "count") ?? 1) || 1,
    price: cents(first(row, "price", "total", "amount", "cost")),
  }));
  if (items.every((item) => item.price === null)) return null;
  const tax = cents(first(object, "tax", "vat", "sales_tax"));
  const total = cents(first(object, "total", "grand_total", "total_due", "amount"));
  const subtotal = cents(object.subtotal);
  const ofRows = items.reduce((sum, item) => sum + (item.price ?? 0), 0);
  const ofPieces = items.reduce((sum, item) => sum + (item.price ?? 0) * item.quantity, 0);
  const aims = [total, total === null || tax === null ? null : total - tax, subtotal].filter((aim) => aim !== null);
  const sum = !aims.includes(ofRows) && aims.includes(ofPieces) ? ofPieces : ofRows;
  const made = sum + (tax ?? 0);
  const verdict = total === null ? "unknown" : total === made || total === sum ? "ok" : "off";
  const fields = Object.entries(object).filter(([name, value]) => !SUMS.includes(name) && ["string", "number"].includes(typeof value));
  return { fields, items, tax, total, sum, made: total === sum ? sum : made, verdict };
}

export function Receipt({ receipt }) {
  const { fields, items, tax, total, sum, made, verdict } = receipt;
  const said = { ok: t("r_ok", { sum: money(made) }), off: t("r_off", { sum: money(made), total: money(total ?? 0) }), unknown: t("r_unknown") };
  const price = (value) => (value === null ? "?" : money(value));
  const rows = [[t("r_item"), t("r_quantity"), t("r_price")], ...items.map((item) => [item.name, item.quantity, price(item.price)])];
  return html`
    <section class="card receipt" aria-label=${t("receipt")}>
      <header><strong>${t("receipt")}</strong><span class="verdict ${verdict}">${said[verdict]}</span></header>
      ${fields.length > 0 && html`<dl class="fields">${fields.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`}
      <div class="table"><table>
        <thead><tr>${rows[0].map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
        <tbody>${items.map((item) => html`<tr><td>${item.name}</td><td class="right">${item.quantity}</td><td class="right">${price(item.price)}</td></tr>`)}</tbody>
        <tfoot>
          <tr><td colspan="2">${t("r_sum")}</td><td class="right">${money(sum)}</td></tr>
          ${tax !== null && html`<tr><td colspan="2">${t("r_tax")}</td><td class="right">${money(tax)}</td></tr>`}
          ${total !== null && html`<tr><td colspan="2"><strong>${t("r_total")}</strong></td><td class="right"><strong>${money(total)}</strong></td></tr>`}
        </tfoot>
      </table></div>
      <footer class="tools">
        <button type="button" class="quiet" onClick=${() => saveText("receipt.csv", csvOf(rows), "text/csv")}>${t("table_csv")}</button>
      </footer>
    </section>`;
}
