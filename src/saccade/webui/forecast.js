// What a question will cost, before it is asked: tokens by the plan of the server, time by what it measured so far.
import { useEffect, useState } from "./html.js";
import { tokensOf } from "./plan.js";
import { path } from "./tree.js";

/** Milliseconds to the first token by the server's own averages; null while it has measured nothing. Pure.
 * `images`: tokens whose features have to be computed; `text`: the other tokens that are not in the prefix cache. */
export function expected(figures, { images, text }) {
  if (!figures) return null;
  const mean = (name) => {
    const count = figures[`${name}_count`];
    return count ? (1000 * figures[`${name}_sum`]) / count : 0;
  };
  const seen = (figures.prompt_tokens_total || 0) - (figures.prompt_tokens_cached_total || 0);
  if (!figures.request_prefill_time_seconds_count || seen <= 0) return null;
  const prefill = (1000 * figures.request_prefill_time_seconds_sum) / seen;
  const encoded = figures.feature_cache_miss_tokens_total || 0;
  const vision = encoded ? (1000 * figures.request_vision_time_seconds_sum) / encoded : 0;
  const stages = ["queue", "tokenize", "prefill", "vision", "decode_media", "resize", "fetch", "hash"];
  const inside = stages.reduce((sum, name) => sum + mean(`request_${name}_time_seconds`), 0);
  const rest = Math.max(0, mean("time_to_first_token_seconds") - inside);
  const fixed = rest + mean("request_queue_time_seconds") + mean("request_tokenize_time_seconds");
  const media = images ? mean("request_decode_media_time_seconds") + mean("request_resize_time_seconds") : 0;
  return fixed + media + images * (vision + prefill) + text * prefill;
}

/** {tokens, ms} of the draft together with its conversation; null for an empty draft. */
export function useForecast(session) {
  const { draft, chat, limits } = session;
  const [text, setText] = useState(0);
  useEffect(() => {
    if (!draft.text.trim() || session.server.status !== "ready") return setText(0);
    const abort = new AbortController();
    const timer = setTimeout(() => {
      const messages = [{ role: "user", content: draft.text }];
      session.api.count(messages, session.server.model?.id, abort.signal).then(({ count }) => setText(count), () => {});
    }, 350);
    return () => { clearTimeout(timer); abort.abort(); };
  }, [draft.text, session.server.status]);
  if (!limits || !(draft.text.trim() || draft.items.length)) return null;
  const records = draft.items.map((item) => item.record).filter((record) => record?.kind === "image");
  const tokens = records.map((record) => record.tokens || tokensOf(record.height, record.width, limits));
  const images = tokens.reduce((sum, one) => sum + one, 0);
  const held = records.reduce((sum, record, i) => sum + (record.state === "held" ? tokens[i] : 0), 0);
  const last = path(chat).findLast((node) => node.usage);
  const before = last ? last.usage.prompt_tokens + last.usage.completion_tokens : 0;
  return { tokens: before + images + text, ms: expected(session.figures, { images: images - held, text }) };
}
