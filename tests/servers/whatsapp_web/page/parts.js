/** What WhatsApp's page is made of here: ids, events, models, and what is kept on disk. */
"use strict";

class Emitter {
  #heard = [];

  on(names, hear) {
    for (const name of names.split(" ")) this.#heard.push({ name, hear });
  }

  once(name, hear) {
    const first = (...said) => {
      this.off(name, first);
      hear(...said);
    };
    this.on(name, first);
  }

  off(name, hear) {
    this.#heard = this.#heard.filter((one) => one.name !== name || one.hear !== hear);
  }

  listens(name) {
    return this.#heard.some((one) => one.name === name);
  }

  fire(name, ...said) {
    for (const one of [...this.#heard]) if (one.name === name) one.hear(...said);
  }
}

class Wid {
  constructor(text) {
    const match = /^(\d+)@(c\.us|lid|g\.us)$/.exec(text);
    if (!match) throw new Error(`wid error: invalid wid`);
    [this._serialized, this.user, this.server] = match;
  }

  isLid() {
    return this.server === "lid";
  }

  isUser() {
    return this.server !== "g.us";
  }

  isGroup() {
    return this.server === "g.us";
  }

  isStatus() {
    return false;
  }
}

class MsgKey {
  constructor({ to, id, selfDir }) {
    this.fromMe = selfDir === "out";
    this.remote = to;
    this.id = id;
    this._serialized = `${this.fromMe}_${to._serialized}_${id}`;
  }

  static async newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(9));
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return `3EB0${hex.toUpperCase()}`;
  }
}

const PLAIN = ["ack", "body", "caption", "filehash", "isNewMsg", "mimetype", "t", "type"];

class MsgModel extends Emitter {
  constructor(fields) {
    super();
    Object.assign(this, fields);
  }

  /** What is kept on disk, and what `revived` makes a model of again. */
  stored() {
    const fields = PLAIN.filter((name) => this[name] !== undefined).map((n) => [n, this[n]]);
    const { fromMe, id, remote, _serialized } = this.id;
    return { ...Object.fromEntries(fields), key: _serialized, fromMe, wa: id, remote: remote._serialized };
  }

  serialize() {
    const { key, wa, ...fields } = this.stored();
    const { id } = this;
    const ends = { from: this.from?._serialized, to: this.to?._serialized };
    return { ...fields, ...ends, id: { fromMe: id.fromMe, remote: id.remote, id: wa, _serialized: key } };
  }

  static revived({ fromMe, wa, remote, ...fields }) {
    const to = new Wid(remote);
    const id = new MsgKey({ to, id: wa, selfDir: fromMe ? "out" : "in" });
    return new MsgModel({ ...fields, id, from: fromMe ? null : to, to: fromMe ? to : null, isNewMsg: false });
  }
}

class ChatModel {
  constructor(id) {
    this.id = id;
  }

  serialize() {
    return { id: this.id };
  }
}

class Collection extends Emitter {
  #models = new Map();

  get(id) {
    return this.#models.get(id?._serialized ?? id);
  }

  getModelsArray() {
    return [...this.#models.values()];
  }

  put(model) {
    this.#models.set(model.id._serialized, model);
    return model;
  }

  add(model) {
    this.put(model);
    this.fire("add", model);
    return model;
  }
}

/** IndexedDB, which a profile keeps over restarts. */
const disk = {
  open() {
    this.base = new Promise((resolve, reject) => {
      const request = indexedDB.open("whatsapp", 1);
      request.onupgradeneeded = () => {
        for (const name of ["session", "chats", "messages"]) {
          request.result.createObjectStore(name, { keyPath: "key" });
        }
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  },

  async run(stores, mode, work) {
    const transaction = (await this.base).transaction(stores, mode);
    const request = work(transaction);
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onerror = () => reject(transaction.error);
    });
  },

  put(store, value) {
    return this.run([store], "readwrite", (t) => t.objectStore(store).put(value));
  },

  get(store, key) {
    return this.run([store], "readonly", (t) => t.objectStore(store).get(key));
  },

  all(store) {
    return this.run([store], "readonly", (t) => t.objectStore(store).getAll());
  },

  clear() {
    const stores = ["session", "chats", "messages"];
    return this.run(stores, "readwrite", (t) => stores.forEach((s) => void t.objectStore(s).clear()));
  },
};
