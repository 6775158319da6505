// Chats and their pictures in this browser, and nowhere else.

const NAME = "saccade";
const STORES = { chats: "id", media: "digest" };

/** Opens the store. Where a browser has none (some private windows, some frames) things are held until the page is
 * closed, and `lasting` is false. */
export async function openDb() {
  try {
    return new Db(await request(opening()), true);
  } catch {
    return new Db(null, false);
  }
}

function opening() {
  const open = indexedDB.open(NAME, 1);
  open.onupgradeneeded = () => {
    for (const [name, keyPath] of Object.entries(STORES)) open.result.createObjectStore(name, { keyPath });
  };
  return open;
}

function request(asked) {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
    asked.onblocked = () => reject(new Error("blocked"));
  });
}

class Db {
  constructor(db, lasting) {
    this.db = db;
    this.lasting = lasting;
    this.held = Object.fromEntries(Object.keys(STORES).map((name) => [name, new Map()]));
  }

  store(name, mode) {
    return this.db.transaction(name, mode).objectStore(name);
  }

  async all(name) {
    const held = [...this.held[name].values()];
    if (!this.db) return held;
    const kept = await request(this.store(name, "readonly").getAll());
    const known = new Set(held.map((value) => value[STORES[name]]));
    return [...held, ...kept.filter((value) => !known.has(value[STORES[name]]))];
  }

  async get(name, key) {
    return this.held[name].get(key) || (this.db ? request(this.store(name, "readonly").get(key)) : undefined);
  }

  /** False when the browser has no room: the value is then held in memory, so nothing is lost while the page is open. */
  async put(name, value) {
    const key = value[STORES[name]];
    if (this.db) {
      try {
        const store = this.store(name, "readwrite");
        await Promise.all([request(store.put(value)), complete(store.transaction)]);
        this.held[name].delete(key);
        return true;
      } catch { /* QuotaExceededError, or a store that was taken away */ }
    }
    this.held[name].set(key, value);
    return false;
  }

  async delete(name, key) {
    this.held[name].delete(key);
    if (this.db) await request(this.store(name, "readwrite").delete(key));
  }

  async clear() {
    for (const name of Object.keys(STORES)) {
      this.held[name].clear();
      if (this.db) await request(this.store(name, "readwrite").clear());
    }
  }
}

function complete(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error || new Error("aborted"));
  });
}
