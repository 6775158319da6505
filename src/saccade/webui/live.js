// One answer under way: asked for, waited for, read, taken up again when the connection is lost.
import { ApiError } from "./api.js";
import { dataUrl } from "./pictures.js";
import { budgeted } from "./plan.js";
import { Painter } from "./stream.js";
import { formOf, taskOf } from "./tasks.js";
import { path } from "./tree.js";

const RETRIES = 30;
const RESUMES = 6;
const KEPT_EVERY = 2000;
const SAMPLING = ["temperature", "top_p", "max_tokens", "seed", "repetition_guard", "thinking_budget"];

export class Live extends EventTarget {
  constructor(session, chat, node, clicked) {
    super();
    Object.assign(this, { session, chat, node, clicked });
    this.abort = new AbortController();
    this.painter = new Painter(() => this.dispatchEvent(new Event("paint")));
    this.last = null; // id of the last event, where the server numbers them
    this.client = { body: 0, uploaded: 0 };
  }

  state(state, more = {}) {
    Object.assign(this.node, { state, ...more });
    this.painter.ask();
  }

  async run() {
    try {
      await this.read(await this.opened());
      if (this.node.state !== "done") this.fail(new ApiError(0, { code: "lost" }));
    } catch (error) {
      if (this.abort.signal.aborted) this.state("stopped");
      else this.fail(error);
    }
    this.node.client = this.client;
    this.painter.now();
  }

  /** Ends the work on the server, too: within a step, also where it would go on without us. */
  stop() {
    this.abort.abort();
    this.wake?.();
    if (this.last !== null) this.session.api.cancel(this.id).catch(() => {});
  }

  fail(error) {
    const { status, code, message, param } = error instanceof ApiError ? error : { status: -1, message: String(error) };
    this.state("error", { error: { status, code, message, param } });
    if (status === 0 || status === 503 || status === 401) this.session.connect();
  }

  /** Asks, and asks again while the server has no room, is loading, or has lost a picture. */
  async opened() {
    let resent = false;
    for (let tries = 0; ; tries++) {
      try {
        const body = await this.body();
        const stream = await this.session.api.chat(body, this.abort.signal);
        this.id = stream.id;
        this.client.body += stream.bytes;
        return stream.events;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.code === "media_not_found" && !resent) {
          resent = true;
          this.session.uploads.forget();
        } else if ((error.status === 429 || error.status === 503) && tries < RETRIES) {
          await this.queue(error);
        } else {
          throw error;
        }
      }
    }
  }

  /** Waits as long as the server said, and tells how many stand before us. */
  async queue(error) {
    const seconds = error.retryAfter || 1;
    this.state("queued", { queue: { until: Date.now() + 1000 * seconds, code: error.code, place: null } });
    const place = this.session.api.metrics().then((found) => found.num_requests_queued, () => null);
    place.then((queued) => this.node.state === "queued" && this.state("queued", { queue: { ...this.node.queue, place: queued } }));
    await new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, 1000 * seconds);
    });
    if (this.abort.signal.aborted) throw new Error("stopped");
    this.state("waiting", { queue: null });
  }

  async read(stream) {
    let now = stream;
    for (let tries = 0; ; tries++) {
      try {
        for await (const { id, data } of now) {
          if (id !== null) this.last = id;
          tries = 0;
          if (data !== "[DONE]") this.take(JSON.parse(data));
          else if (this.node.state !== "error") this.state("done");
        }
        if (this.node.state === "done" || this.node.state === "error" || this.last === null) return;
      } catch (error) {
        if (this.abort.signal.aborted) throw error;
        if (this.last === null) throw new ApiError(0, { code: "lost" });
      }
      now = await this.resumed(tries);
    }
  }

  /** The connection is lost: the server keeps the events for us, so nothing is. */
  async resumed(tries) {
    if (tries >= RESUMES) throw new ApiError(0, { code: "lost" });
    this.state("resuming");
    await new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, 300 * 2 ** tries);
    });
    try {
      const stream = await this.session.api.resume(this.id, this.last, this.abort.signal);
      this.client.resumed = (this.client.resumed || 0) + 1;
      return stream;
    } catch (error) {
      if (error instanceof ApiError && error.status === 0) return this.resumed(tries + 1);
      if (error instanceof ApiError) throw new ApiError(0, { code: "lost" });
      throw error;
    }
  }

  take(chunk) {
    const { node } = this;
    if (chunk.error) {
      this.state("error", { error: { status: 500, ...chunk.error } });
      return;
    }
    if (chunk.usage) node.usage = chunk.usage;
    if (chunk.timings) node.timings = chunk.timings;
    const choice = chunk.choices[0];
    if (!choice) return;
    const { content, reasoning_content: thought, reasoning, tool_calls: calls } = choice.delta;
    if (content || thought || reasoning || calls) {
      this.client.first ??= performance.now() - this.clicked;
      node.text += content || "";
      node.reasoning += thought || reasoning || "";
      for (const call of calls || []) this.call(call);
      this.state("streaming");
      this.keep();
    }
    if (choice.finish_reason) node.finish = choice.finish_reason;
  }

  /** At once, and then now and then, what came is kept with the place in the stream, so that a page that is closed loses
   * nothing. */
  keep() {
    const now = performance.now();
    if (this.last === null || now - (this.kept ?? -Infinity) < KEPT_EVERY) return;
    this.kept = now;
    this.node.stream = { id: this.id, last: this.last };
    this.session.keep(this.chat);
  }

  /** Goes on with a stream that a page which was closed had begun. */
  async takeUp({ id, last }) {
    Object.assign(this, { id, last });
    try {
      await this.read(await this.resumed(0));
      if (this.node.state !== "done") this.fail(new ApiError(0, { code: "lost" }));
    } catch (error) {
      if (this.abort.signal.aborted) this.state("stopped");
      else this.fail(error);
    }
    this.painter.now();
  }

  call({ index, function: { name, arguments: text } = {} }) {
    this.node.calls ??= [];
    const call = (this.node.calls[index] ??= { name: "", arguments: "" });
    call.name += name || "";
    call.arguments += text || "";
  }

  async body() {
    const { session, node, chat } = this;
    const { settings, server } = session;
    const task = taskOf(node.task);
    const messages = [];
    const system = [settings.system, task?.system].filter(Boolean).join("\n\n");
    if (system) messages.push({ role: "system", content: system });
    for (const one of path(chat, node.parent)) {
      if (one.role === "user") messages.push({ role: "user", content: await this.content(one, task) });
      else if (one.text || one.calls) messages.push({ role: "assistant", content: one.text });
    }
    const body = { model: server.model?.id, messages, stream: true, stream_options: { include_usage: true } };
    if (node.begun) {
      messages.push({ role: "assistant", content: node.begun });
      body.continue_final_message = true;
    }
    for (const name of SAMPLING) {
      const value = settings[name] ?? task?.[name];
      if (value !== undefined && value !== null && value !== "") body[name] = Number(value);
    }
    const form = formOf(task, chat.nodes[node.parent]?.text);
    if (form && settings.strict && !node.begun) body.response_format = form; // the rest of an answer has no form of its own
    return body;
  }

  async content(message, task) {
    const parts = [];
    for (const part of message.parts || []) parts.push(await this.mediaPart(part, task));
    if (!parts.length) return message.text;
    if (message.text) parts.push({ type: "text", text: message.text });
    return parts;
  }

  async mediaPart(part, task) {
    const more = {};
    const budget = budgeted(this.session.server.model?.media, task?.pixels)?.max_pixels;
    if (part.digest && part.how === "as is" && part.before && this.session.settings.original) more.detail = "original";
    else if (task?.pixels && part.kind !== "video" && !(part.width * part.height <= budget)) more.max_pixels = budget;
    if (part.url) return { type: "image_url", image_url: { url: part.url, ...more } };
    const record = await this.session.record(part.digest);
    if (!record) throw new ApiError(-1, { code: "picture_gone" });
    const kind = part.kind === "video" ? "video_url" : "image_url";
    if (kind === "video_url") delete more.detail;
    const { bytes, held } = await this.session.uploads.settled(record);
    this.client.uploaded += bytes;
    return { type: kind, [kind]: { url: held ? `media:${record.digest}` : await dataUrl(record.blob), ...more } };
  }
}
