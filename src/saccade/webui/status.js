// What the server is doing now: its state, and its own figures.
import { html, useEffect, useState } from "./html.js";
import { number, t } from "./i18n.js";

const EVERY = 4000;

/** Asks for the figures while the page is seen; they serve the status line and the forecast. */
export function useFigures(session) {
  const [, set] = useState(0);
  useEffect(() => {
    let timer = null;
    let gone = false;
    const ask = async () => {
      if (!document.hidden && session.server.status === "ready") {
        try {
          const before = session.figures;
          const now = { ...(await session.api.metrics()), at: performance.now() };
          session.rates = ratesOf(before, now) || session.rates;
          session.figures = now;
          session.dispatchEvent(new Event("draft"));
          set((n) => n + 1);
        } catch { /* the state tells when the server is away */ }
      }
      if (!gone) timer = setTimeout(ask, EVERY);
    };
    ask();
    return () => { gone = true; clearTimeout(timer); };
  }, [session, session.server.status]);
}

/** Tokens of answers for each second between two scrapes. Pure. */
export function ratesOf(before, now) {
  if (!before || now.generation_tokens_total < before.generation_tokens_total) return null;
  const seconds = (now.at - before.at) / 1000;
  return seconds > 0 ? { tokens: (now.generation_tokens_total - before.generation_tokens_total) / seconds } : null;
}

/** Shares of what was found in the caches since the server began; null where nothing was looked for. Pure. */
export function hitRates(figures) {
  const share = (part, whole) => (whole > 0 ? part / whole : null);
  const hits = (figures.feature_cache_hit_tokens_total || 0) + (figures.feature_cache_wait_tokens_total || 0);
  return {
    prefix: share(figures.prompt_tokens_cached_total || 0, figures.prompt_tokens_total || 0),
    vision: share(hits, hits + (figures.feature_cache_miss_tokens_total || 0)),
  };
}

export function Status({ session }) {
  useFigures(session);
  const { server, figures, rates } = session;
  const words = t(`st_${server.status}`, { stage: `${server.stage || ""}${server.fraction ? ` ${Math.round(100 * server.fraction)} %` : ""}` });
  const facts = server.model?.facts || {};
  return html`
    <details class="status">
      <summary title=${t("st_figures")}>
        <i class="lamp ${server.status}"></i><b>${server.model?.id || t("app")}</b>
        <span>${server.status === "ready" && figures ? live(figures, rates) : words}</span>
      </summary>
      <div class="card pop">
        <p><strong>${words}</strong> <span class="faint">${Object.values(facts).join(" · ")}</span></p>
        ${figures && html`<dl>${rows(figures, rates).map(([name, value]) => html`<div><dt>${t(name)}</dt><dd>${value}</dd></div>`)}</dl>`}
      </div>
    </details>`;
}

const live = (figures, rates) => [
  figures.num_requests_running ? `${number(figures.num_requests_running)} ${t("f_running")}` : null,
  figures.num_requests_queued ? `${number(figures.num_requests_queued)} ${t("f_queued")}` : null,
  rates?.tokens ? `${number(rates.tokens)} ${t("f_speed")}` : null,
].filter(Boolean).join(" · ") || t("st_ready");

function rows(figures, rates) {
  const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`);
  const { prefix, vision } = hitRates(figures);
  return [
    ["f_running", number(figures.num_requests_running || 0)],
    ["f_queued", number(figures.num_requests_queued || 0)],
    ["f_speed", rates ? number(rates.tokens) : "–"],
    ["f_prefix", percent(prefix)],
    ["f_vision", percent(vision)],
    ["f_memory", percent(figures.kv_cache_usage_perc)],
  ];
}
