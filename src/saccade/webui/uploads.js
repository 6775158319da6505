// Pictures go ahead of the question: asked for by digest, sent if the server does not have them, named by id from then on.

export class Uploads {
  constructor(session) {
    this.session = session;
    this.sent = new Map(); // digest -> promise of {held, bytes, tokens}
  }

  get possible() {
    return this.session.server.model?.media?.max_store_bytes > 0;
  }

  /** Begins at once and is not waited for; what goes wrong only means that the bytes go with the question. */
  begin(record) {
    if (!this.possible || this.sent.has(record.digest)) return;
    this.sent.set(record.digest, this.carry(record).finally(() => this.session.dispatchEvent(new Event("draft"))));
  }

  all(items) {
    for (const item of items) if (item.record) this.begin(item.record);
  }

  async carry(record) {
    const begun = performance.now();
    const { api } = this.session;
    record.state = "sending";
    try {
      if (await api.hasMedia(record.digest)) {
        Object.assign(record, { state: "held", uploaded: 0, took: performance.now() - begun });
        return { held: true, bytes: 0 };
      }
      const told = await api.sendMedia(record.blob);
      Object.assign(record, { state: "held", uploaded: record.bytes, tokens: told.tokens, took: performance.now() - begun });
      return { held: told.id === `media:${record.digest}`, bytes: record.bytes };
    } catch (error) {
      record.state = "failed";
      this.sent.delete(record.digest);
      return { held: false, bytes: 0, error };
    }
  }

  /** Whether the server has it, and the bytes that went for it since the last time somebody asked. */
  async settled(record) {
    if (!this.possible) return { held: false, bytes: 0 };
    this.begin(record);
    const told = await this.sent.get(record.digest);
    const { held, bytes } = told || { held: false, bytes: 0 };
    if (told) told.bytes = 0;
    return { held, bytes };
  }

  /** The server has lost them (it was restarted, or they were there too long): they are sent again when needed. */
  forget() {
    this.sent.clear();
  }
}
