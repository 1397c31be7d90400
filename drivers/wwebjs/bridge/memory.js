import fs from "node:fs";
import { dirname } from "node:path";

const COMPACT_BYTES = 1024 * 1024;
const MOST_SENT = 10_000;
const MOST_HEARD = 5_000;
const KEPT_MS = 7 * 24 * 3600 * 1000;
/** A message may come later than younger ones, from a phone that was off. */
const LATE_SECONDS = 24 * 3600;

/**
 * What outlives the browser of a device: what is wanted of it, its link, the highest epoch, the
 * messages whose acks are still to come, and which inbound messages were told.
 *
 * A file of JSON lines, one a change, written before the change counts; no text and no recipient
 * beyond WhatsApp's id of the chat. What is lost with it is looked up anew or told again.
 */
export class Memory {
  #path;
  #file;
  #bytes = 0;

  desired = "down";
  proxy = null;
  me = null;
  linked = false;
  epoch = 0;
  /** inbound messages older than this, in seconds, are told already or of no concern */
  since = 0;
  /** by wa_id: the chat, the last ack, when it was sent */
  #sent = new Map();
  #heard = new Set();

  constructor(path) {
    this.#path = path;
    fs.mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#load();
    this.#compact();
  }

  desire(desired, proxy) {
    if (desired === this.desired && proxy === this.proxy) return;
    this.#note({ desired, proxy });
  }

  /** The device has a phone: from the first time on its inbound messages count. */
  link(me) {
    if (this.linked && me === this.me) return;
    const since = this.linked ? this.since : Math.floor(Date.now() / 1000);
    this.#note({ linked: true, me, since });
  }

  /** The link is gone, and with it the page's store that this is about. */
  unlink() {
    if (this.linked) this.#note({ linked: false, me: null });
  }

  raiseEpoch(epoch) {
    if (epoch > this.epoch) this.#note({ epoch });
  }

  /** A message is about to be handed over under this id. */
  sending(waId, chat) {
    if (!this.#sent.has(waId)) this.#note({ sent: [waId, chat, 0, Date.now()] });
  }

  /** Whether this ack of a message sent from here is news. */
  rises(waId, ack) {
    const known = this.#sent.get(waId);
    return known !== undefined && (ack > known.ack || (ack === -1 && known.ack === 0));
  }

  acked(waId, ack) {
    const { chat, at } = this.#sent.get(waId);
    this.#note({ sent: [waId, chat, ack, at] });
  }

  /** The messages whose last ack is still to come, as pairs of wa_id and chat. */
  open() {
    const open = [...this.#sent].filter(([, { ack }]) => ack >= 0 && ack < 3);
    return open.map(([waId, { chat }]) => [waId, chat]);
  }

  knows(waId) {
    return this.#heard.has(waId);
  }

  heard(waId, t) {
    this.#note({ heard: [waId, t] });
  }

  close() {
    fs.closeSync(this.#file);
  }

  #apply(note) {
    const { sent, heard, ...fields } = note;
    if (fields.linked === false) {
      this.#sent.clear();
      this.#heard.clear();
      this.since = 0;
    }
    Object.assign(this, fields);
    if (sent) {
      const [waId, chat, ack, at] = sent;
      this.#sent.set(waId, { chat, ack, at });
      trim(this.#sent, MOST_SENT);
    }
    if (heard) {
      const [waId, t] = heard;
      this.#heard.add(waId);
      trim(this.#heard, MOST_HEARD);
      this.since = Math.max(this.since, t - LATE_SECONDS);
    }
  }

  #note(note) {
    const line = `${JSON.stringify(note)}\n`;
    fs.writeSync(this.#file, line);
    this.#bytes += line.length;
    this.#apply(note);
    if (this.#bytes > COMPACT_BYTES) this.#compact();
  }

  #load() {
    if (!fs.existsSync(this.#path)) return;
    for (const line of fs.readFileSync(this.#path, "utf8").split("\n")) {
      try {
        if (line) this.#apply(JSON.parse(line));
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error; // a line cut off by a crash
      }
    }
  }

  #compact() {
    const { desired, proxy, me, linked, epoch, since } = this;
    const young = Date.now() - KEPT_MS;
    const notes = [{ desired, proxy, me, linked, epoch }];
    for (const [waId, { chat, ack, at }] of this.#sent) {
      if (at > young) notes.push({ sent: [waId, chat, ack, at] });
      else this.#sent.delete(waId);
    }
    for (const waId of this.#heard) notes.push({ heard: [waId, 0] });
    notes.push({ since });
    const content = notes.map((note) => `${JSON.stringify(note)}\n`).join("");
    if (this.#file !== undefined) fs.closeSync(this.#file);
    fs.writeFileSync(`${this.#path}.new`, content, { mode: 0o600 });
    fs.renameSync(`${this.#path}.new`, this.#path);
    this.#file = fs.openSync(this.#path, "a", 0o600);
    this.#bytes = 0;
  }
}

function trim(collection, most) {
  if (collection.size > most) collection.delete(collection.keys().next().value);
}
