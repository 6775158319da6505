// What went wrong with a question, as sentences for people. Pure.
import { t } from "./i18n.js";

const BY_CODE = {
  lost: "e_lost", picture_gone: "e_gone", context_length_exceeded: "e_context",
  queue_full: "e_busy", overloaded: "e_busy", queue_timeout: "e_busy", rate_limit_exceeded: "e_busy",
};
const BY_STATUS = { 0: "e_unreachable", 401: "e_locked", 413: "e_large", 429: "e_busy", 500: "e_server", 503: "e_busy", 504: "e_busy" };

/** One or two sentences: ours in the person's language, and what the server said where that tells more. */
export function errorWords({ status, code, message, param } = {}) {
  if (status === -1 && !code) return [t("e_page", { message })];
  const isMedia = /content\[\d+\]|image_url|video_url/.test(param || "");
  const key = BY_CODE[code] || BY_STATUS[status] || (isMedia ? "e_media" : "e_refused");
  const tellsMore = message && status >= 400 && ![401].includes(status);
  return [t(key), ...(tellsMore ? [t("e_details", { message })] : [])];
}
