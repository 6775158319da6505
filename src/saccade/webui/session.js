// Everything that goes on behind the page: the server, the chats, the answers under way. Draws nothing.
import { ApiError } from "./api.js";
import { openDb } from "./db.js";
import { currentLanguage } from "./i18n.js";
import { Live } from "./live.js";
import { budgeted, sentSize } from "./plan.js";
import { eachPage, isPdf } from "./pages.js";
import { FileError, prepare } from "./pictures.js";
import { DEFAULTS, readSettings, writeSettings } from "./settings.js";
import { promptsOf, taskOf } from "./tasks.js";
import { add, newChat, path, select } from "./tree.js";
import { Uploads } from "./uploads.js";

const LONGEST = 600000;

export class Session extends EventTarget {
  /** `name`: of the draft, where a page holds several of us. */
  constructor(api, name = "") {
    super();
    this.api = api;
    this.draftName = `saccade-draft${name && `-${name}`}`;
    this.settings = readSettings();
    this.chats = [];
    this.chat = newChat();
    this.media = new Map(); // digest -> record with its blob
    this.lives = new Map(); // id of the chat -> the answer under way
    this.server = { status: "connecting", model: null };
    this.draft = { text: "", items: [] };
    this.notices = [];
    this.uploads = new Uploads(this);
    this.figures = null;
  }

  change() {
    this.dispatchEvent(new Event("change"));
  }

  /** A sentence for the person, by its key in words.js; the same one stands once. */
  notice(key, values = {}, level = "error") {
    const told = JSON.stringify([key, values]);
    this.notices = [...this.notices.filter((one) => one.told !== told), { told, key, values, level }].slice(-4);
    this.change();
  }

  dismiss(notice) {
    this.notices = this.notices.filter((one) => one !== notice);
    this.change();
  }

  async start() {
    this.connect();
    this.db = await openDb();
    if (!this.db.lasting) this.notice("storage_none", {}, "info");
    this.chats = (await this.db.all("chats")).sort((a, b) => b.updated - a.updated);
    this.takeUpAll();
    await this.restoreDraft();
    this.change();
  }

  /** Ask who is there, again and again until somebody is; then once in a while. */
  async connect() {
    clearTimeout(this.again);
    const told = await this.api.readiness();
    let { model } = this.server;
    let locked = false;
    if (told.status !== "unreachable" && (!model || !model.max_model_len || this.server.status !== "ready")) {
      try {
        model = await this.api.model();
      } catch (error) {
        locked = error instanceof ApiError && error.status === 401;
      }
    }
    const status = locked ? "locked" : told.status;
    const changed = status !== this.server.status || model !== this.server.model || told.fraction !== this.server.fraction;
    this.server = { ...told, status, model };
    if (changed) {
      this.change();
      if (status === "ready") this.uploads.all(this.draft.items);
    }
    this.again = setTimeout(() => this.connect(), status === "ready" ? 15000 : 1000);
  }

  get limits() {
    const media = this.server.model?.media;
    return media?.factor ? budgeted(media, taskOf(this.chat.task)?.pixels, this.settings.pixels) : null;
  }

  set(changes) {
    this.settings = { ...this.settings, ...changes };
    writeSettings(this.settings);
    this.change();
  }

  resetSettings() {
    this.set({ ...DEFAULTS, lang: this.settings.lang, theme: this.settings.theme });
  }

  // --- the draft ---

  setText(text) {
    this.draft.text = text;
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.keepDraft(), 300);
    this.dispatchEvent(new Event("draft"));
  }

  setItems(items) {
    this.draft.items = items;
    this.keepDraft();
    this.dispatchEvent(new Event("draft"));
  }

  keepDraft() {
    const items = this.draft.items.map((item) => item.record?.digest || (item.url && { url: item.url })).filter(Boolean);
    try {
      localStorage.setItem(this.draftName, JSON.stringify({ text: this.draft.text, items }));
    } catch { /* no storage: the draft lives as long as the page */ }
  }

  async restoreDraft() {
    let kept = null;
    try { kept = JSON.parse(localStorage.getItem(this.draftName)); } catch { return; }
    if (!kept || this.draft.text || this.draft.items.length) return;
    const records = await Promise.all(kept.items.map((one) => (one.url ? one : this.record(one))));
    this.draft = { text: kept.text, items: records.filter(Boolean).map((one) => this.itemOf(one)) };
    this.dispatchEvent(new Event("draft"));
  }

  itemOf(record) {
    return record.url && !record.digest ? { key: record.url, url: record.url } : { key: record.digest, record };
  }

  /** Files join the draft: shown at once, prepared in the worker, sent ahead as soon as they are. */
  async attach(files, { original = this.settings.original } = {}) {
    const all = [...files]; // the list of an input is emptied before we are done
    await this.modelKnown();
    await Promise.all(all.map(async (file) => {
      const item = this.newItem(file);
      this.setItems([...this.draft.items, item]);
      item.ready = isPdf(file) ? this.preparePages(item, original) : this.prepareItem(item, original);
      await item.ready;
    }));
  }

  newItem(file) {
    return { key: `${Date.now()}-${Math.random()}`, file, preparing: true };
  }

  /** The pages of a document stand before it while they come, and in its place when all are there. */
  async preparePages(item, original) {
    const without = () => this.draft.items.filter((one) => one !== item);
    try {
      await eachPage(this, item.file, async (file) => {
        if (!this.draft.items.includes(item)) throw new FileError("removed"); // by the person, who wants no more of it
        const page = this.newItem(file);
        this.setItems(this.draft.items.flatMap((one) => (one === item ? [page, item] : [one])));
        await this.prepareItem(page, original);
      });
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      if (error.reason !== "removed") this.notice(error.reason, error.values);
    }
    this.setItems(without());
  }

  async prepareItem(item, original) {
    try {
      item.original = original;
      const record = await prepare(item.file, { media: this.limits, original });
      Object.assign(item, { record, preparing: false });
      this.media.set(record.digest, record);
      await this.keepRecord(record);
      this.uploads.begin(item.record);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.notice(error.reason, error.values);
      this.draft.items = this.draft.items.filter((one) => one !== item);
    }
    this.setItems([...this.draft.items]);
  }

  /** The same picture once more, larger or smaller. */
  async redo(item, original) {
    item.file = item.file || item.record.blob;
    item.preparing = true;
    this.setItems([...this.draft.items]);
    item.ready = this.prepareItem(item, original);
    await item.ready;
  }

  addUrl(url) {
    this.setItems([...this.draft.items, { key: url, url }]);
  }

  /** The limits of pictures come with the model; a person may be quicker than that. */
  async modelKnown() {
    for (let i = 0; i < 40 && !this.server.model?.media?.factor && this.server.status !== "locked"; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async keepRecord(record) {
    const { upload, ...kept } = record;
    if (this.db && !(await this.db.put("media", kept))) this.notice("storage_full", {}, "warning");
  }

  /** A picture or video by its digest, from memory or from the store. */
  async record(digest) {
    if (!this.media.has(digest)) {
      const kept = await this.db?.get("media", digest);
      if (kept) this.media.set(digest, kept);
    }
    return this.media.get(digest);
  }

  // --- chats ---

  open(chat) {
    this.chat = chat;
    this.change();
  }

  startChat(task = null) {
    this.open(newChat(task));
  }

  keep(chat) {
    this.db?.put("chats", chat);
  }

  /** Answers that were under way when the page was closed: the server may still have them. */
  takeUpAll() {
    for (const chat of this.chats) {
      for (const node of Object.values(chat.nodes)) {
        if (!["waiting", "queued", "streaming", "resuming"].includes(node.state)) continue;
        const { stream } = node;
        if (stream && Date.now() - chat.updated < LONGEST) this.follow(chat, node, (live) => live.takeUp(stream));
        else node.state = node.text ? "error" : "stopped";
        if (node.state === "error") node.error = { status: 0, code: "lost" };
      }
    }
  }

  /** An answer is under way until `work` is done. */
  follow(chat, node, work, clicked = performance.now()) {
    const live = new Live(this, chat, node, clicked);
    this.lives.set(chat.id, live);
    return work(live).finally(() => {
      this.lives.delete(chat.id);
      delete node.stream;
      chat.updated = Date.now();
      this.save(chat);
    });
  }

  async save(chat = this.chat) {
    if (!this.chats.includes(chat)) this.chats = [chat, ...this.chats];
    this.chats.sort((a, b) => b.updated - a.updated);
    if (this.db && !(await this.db.put("chats", chat))) this.notice("storage_full", {}, "warning");
    this.change();
  }

  async remove(chat) {
    this.lives.get(chat.id)?.stop();
    this.chats = this.chats.filter((other) => other !== chat);
    await this.db?.delete("chats", chat.id);
    await this.dropUnused();
    if (this.chat === chat) this.startChat();
    else this.change();
  }

  /** Pictures that no chat has any more go, too. */
  async dropUnused() {
    const used = new Set(this.draft.items.map((item) => item.record?.digest));
    for (const chat of this.chats) {
      for (const node of Object.values(chat.nodes)) for (const part of node.parts || []) used.add(part.digest);
    }
    for (const { digest } of await this.db.all("media")) if (!used.has(digest)) await this.db.delete("media", digest);
  }

  // --- questions and answers ---

  get live() {
    return this.lives.get(this.chat.id);
  }

  /** The draft becomes a message. Once: what comes while an answer is under way, or twice, is not sent again. */
  async send() {
    const { draft, chat } = this;
    if (this.live || this.sending || !(draft.text.trim() || draft.items.length)) return;
    const clicked = performance.now();
    this.sending = true;
    this.change();
    try {
      await Promise.all(draft.items.map((item) => item.ready));
      const items = this.draft.items.filter((item) => item.record || item.url);
      if (!(draft.text.trim() || items.length)) return;
      const parts = items.map((item) => (item.url ? { url: item.url } : partOf(item.record)));
      const text = draft.text.trim();
      add(chat, chat.leaf, { role: "user", text, parts });
      this.draft = { text: "", items: [] };
      this.keepDraft();
      this.dispatchEvent(new Event("draft"));
      this.answer(chat, chat.leaf, clicked);
    } finally {
      this.sending = false;
      this.change();
    }
  }

  /** A new answer below the message `parent`. */
  answer(chat, parent, clicked = performance.now(), more = {}) {
    const node = add(chat, parent, { role: "assistant", text: "", reasoning: "", state: "waiting", task: chat.task, ...more });
    const done = this.follow(chat, node, (live) => live.run(), clicked);
    this.save(chat);
    return done;
  }

  regenerate(node) {
    if (!this.live) this.answer(this.chat, node.parent);
  }

  /** The message in other words, as a branch beside it. */
  edit(node, text) {
    if (this.live || !(text.trim() || node.parts?.length)) return;
    add(this.chat, node.parent, { role: "user", text: text.trim(), parts: node.parts });
    this.answer(this.chat, this.chat.leaf);
  }

  /** Goes on where an answer was cut. */
  goOn(node) {
    if (!this.live) this.answer(this.chat, node.parent, performance.now(), { text: node.text, begun: node.text });
  }

  select(node) {
    select(this.chat, node);
    this.save();
  }

  stop() {
    this.live?.stop();
  }

  setTask(task) {
    this.chat.task = task;
    this.fit();
    this.change();
  }

  /** What a task offers to ask, in the language of the person where the model reads it. */
  prompts(task) {
    return promptsOf(task, this.server.model?.id === "demo" ? "en" : currentLanguage());
  }

  /** Pictures of the draft that were made for another budget of pixels are made again from their files. */
  fit() {
    for (const item of this.draft.items) {
      const { file, record, original, preparing } = item;
      if (!file || !record?.before || original || preparing || !this.limits) continue;
      const [height, width] = sentSize(record.before.height, record.before.width, this.limits);
      if (height !== record.height || width !== record.width) this.redo(item, false);
    }
  }

  /** Pictures of the conversation before a message, newest last. */
  pictures(node) {
    return path(this.chat, node.id).flatMap((one) => one.parts || []);
  }
}

/** What a message keeps of a picture; the blob itself is in the store. */
function partOf({ digest, kind, name, width, height, bytes, before, how, frames, duration, type, uploaded }) {
  return { digest, kind, name, width, height, bytes, before, how, frames, duration, type, uploaded };
}
