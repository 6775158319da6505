// Our own HTTP interface, as any client would use it.
import { events } from "./stream.js";

const KEY = "saccade-key";

/** What went wrong: `status` 0 when nobody answered. `code`, `param` and `message` are the server's. */
export class ApiError extends Error {
  constructor(status, { message = "", code = null, param = null } = {}, retryAfter = null) {
    super(message);
    Object.assign(this, { status, code, param, retryAfter });
  }
}

export class Api {
  constructor(base = "") {
    this.base = base.replace(/\/$/, "");
  }

  /** For this tab alone; gone when it is closed. */
  get key() {
    try { return sessionStorage.getItem(KEY) || this.held || ""; } catch { return this.held || ""; }
  }

  set key(value) {
    this.held = value;
    try {
      if (value) sessionStorage.setItem(KEY, value);
      else sessionStorage.removeItem(KEY);
    } catch { /* a frame without storage: held as long as the page is */ }
  }

  async fetch(path, { method = "GET", headers = {}, body, signal, cache = "no-store" } = {}) {
    const sent = { ...headers };
    if (this.key) sent.authorization = `Bearer ${this.key}`;
    let response;
    try {
      response = await fetch(this.base + path, { method, headers: sent, body, signal, cache });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, { message: String(error.message) });
    }
    return response;
  }

  async ask(path, options = {}) {
    const response = await this.fetch(path, options);
    if (!response.ok) throw await failure(response);
    return response;
  }

  async json(path, body, options = {}) {
    const sent = body === undefined ? {} : {
      method: "POST", headers: { "content-type": "application/json", ...options.headers }, body: JSON.stringify(body),
    };
    return (await this.ask(path, { ...options, ...sent })).json();
  }

  async model() {
    return (await this.json("/v1/models")).data[0];
  }

  /** {status, stage, fraction} whether ready or not; status "unreachable" when nobody answers. */
  async readiness() {
    try {
      return await (await this.fetch("/health/ready")).json();
    } catch {
      return { status: "unreachable" };
    }
  }

  async metrics() {
    return figures(await (await this.ask("/metrics")).text());
  }

  async count(messages, model, signal) {
    return this.json("/tokenize", { model, messages }, { signal });
  }

  async hasMedia(digest) {
    const response = await this.fetch(`/v1/media/${digest}`, { method: "HEAD" });
    return response.ok;
  }

  async sendMedia(blob, signal) {
    const response = await this.ask("/v1/media", {
      method: "POST", headers: { "content-type": blob.type || "application/octet-stream" }, body: blob, signal,
    });
    return response.json();
  }

  /** A page of a PDF file that the server has, as a picture. */
  async page(id, number) {
    return (await this.ask(`/v1/media/${id}/pages/${number}`)).blob();
  }

  /** Opens a stream. Returns {id, events, bytes}: the server's id of the request, the events, and what was sent. */
  async chat(body, signal) {
    const text = JSON.stringify(body);
    const response = await this.ask("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", "x-saccade-resume": "true" },
      body: text,
      signal,
    });
    return { id: response.headers.get("x-request-id"), events: events(response), bytes: text.length };
  }

  /** The events behind `last` of a stream whose connection was lost. */
  async resume(id, last, signal) {
    const response = await this.ask(`/v1/chat/completions/${encodeURIComponent(id)}/events`, {
      headers: { "last-event-id": last }, signal,
    });
    return events(response);
  }

  /** End a stream that would go on without us. */
  async cancel(id) {
    await this.ask(`/v1/chat/completions/${encodeURIComponent(id)}/cancel`, { method: "POST" });
  }
}

async function failure(response) {
  const after = Number(response.headers.get("retry-after")) || null;
  let told = {};
  try { told = (await response.json()).error || {}; } catch { /* not ours: a proxy's page */ }
  return new ApiError(response.status, told, after);
}

/** Of a scrape: the sum of each name over its labels, and "name{labels}" for each. */
export function figures(text) {
  const found = {};
  for (const line of text.split("\n")) {
    const match = /^saccade:([a-z0-9_]+)(\{[^}]*\})? (\S+)$/i.exec(line);
    if (!match || match[1].endsWith("_bucket") || match[1].endsWith("_created")) continue;
    const value = Number(match[3]);
    found[match[1]] = (found[match[1]] || 0) + value;
    if (match[2]) found[match[1] + match[2]] = value;
  }
  return found;
}
