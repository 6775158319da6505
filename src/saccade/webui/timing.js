// Where the time of an answer went, as one bar and in words.
import { html } from "./html.js";
import { bytes, duration, number, t } from "./i18n.js";

/** Milliseconds of each part: what the server measured, and what lies between it and the person. Pure. */
export function partsOf({ timings, client }) {
  if (!timings) return null;
  const { fetch_ms: fetch = 0, decode_media_ms: decode = 0, resize_ms: resize = 0, hash_ms: hash = 0 } = timings;
  const known = {
    upload: Math.max(0, (client?.first ?? timings.first_token_ms) - timings.first_token_ms),
    media: fetch + decode + resize + hash,
    queue: timings.queue_ms ?? 0,
    vision: timings.vision_ms ?? 0,
    prefill: timings.prefill_ms ?? 0,
  };
  const inside = known.media + known.queue + known.vision + known.prefill;
  return { ...known, other: Math.max(0, timings.first_token_ms - inside), decode: timings.decode_ms ?? 0 };
}

export function cacheWords({ timings, usage }) {
  const cache = timings?.cache;
  if (!cache) return null;
  const words = [];
  const share = usage?.prompt_tokens ? Math.round((100 * cache.prefix_tokens) / usage.prompt_tokens) : 0;
  if (share) words.push(t("cache_prefix", { share }));
  if (cache.pictures && cache.pictures !== "miss") words.push(t("cache_picture"));
  if (cache.vision && !["miss", "prefix"].includes(cache.vision)) words.push(t("cache_vision"));
  return words.length ? t("cached", { what: words.join(", ") }) : t("cache_none");
}

export function Timing({ node }) {
  const parts = partsOf(node);
  if (!parts) return null;
  const { timings, usage, client } = node;
  const whole = Object.values(parts).reduce((sum, ms) => sum + ms, 0) || 1;
  const first = client?.first ?? timings.first_token_ms;
  const rate = usage && timings.decode_ms > 0 ? ((usage.completion_tokens - 1) / timings.decode_ms) * 1000 : 0;
  const shown = Object.entries(parts).filter(([, ms]) => ms / whole > 0.002);
  return html`
    <details class="timing">
      <summary>
        <span class="bar" role="img" aria-label=${`${t("timing")}: ${shown.map(([name, ms]) => `${t(`t_${name}`)} ${duration(ms)}`).join(", ")}`}>
          ${shown.map(([name, ms]) => html`<i class="p-${name}" style=${{ width: `${(100 * ms) / whole}%` }} title=${`${t(`t_${name}`)} ${duration(ms)}`}></i>`)}
        </span>
        <span class="said">
          <b>${t("first_token", { time: duration(first) })}</b>
          ${rate > 0 && html`<span>${t("speed", { rate: number(rate) })}</span>`}
          ${client && html`<span>${t("uploaded", { bytes: bytes(client.uploaded + client.body) })}</span>`}
          <span>${cacheWords(node)}</span>
        </span>
      </summary>
      <dl>
        ${Object.entries(parts).map(([name, ms]) => html`<div><dt><i class="p-${name}"></i>${t(`t_${name}`)}</dt><dd>${duration(ms)}</dd></div>`)}
        ${usage && html`<div><dt>${t("tokens_in", { count: number(usage.prompt_tokens) })}</dt><dd>${t("tokens_out", { count: number(usage.completion_tokens) })}</dd></div>`}
        ${client?.resumed && html`<div><dt>${t("resumed", { count: client.resumed })}</dt><dd></dd></div>`}
      </dl>
    </details>`;
}
