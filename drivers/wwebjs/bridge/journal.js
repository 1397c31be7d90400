import { randomUUID } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";

const READ_BYTES = 64 * 1024;

/**
 * The events that nobody has acknowledged, on disk before anybody sees them.
 *
 * Kept in segments, files named by their first number, so that trimming is removing files. The last
 * segment is written to and always there: its name and its lines tell the next number.
 */
export class Journal {
  #folder;
  #limits;
  #segments = [];
  #file;
  #waiting = new Set();

  /** Opens or makes the log in the folder; a line cut off by a crash is removed. */
  constructor(folder, bootId, limits) {
    this.#folder = folder;
    this.#limits = limits;
    this.bootId = bootId;
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.logId = this.#identity();
    for (const name of fs.readdirSync(folder).filter((n) => n.endsWith(".ndjson"))) {
      this.#segments.push(this.#load(name));
    }
    this.#segments.sort((one, other) => one.first - other.first);
    if (this.#segments.length === 0) this.#begin(1);
    else this.#file = fs.openSync(this.#current.path, "a", 0o600);
    this.acked = this.#segments[0].first - 1;
  }

  /** The number of the newest event, 0 before the first. */
  get last() {
    return this.#current.first + this.#current.ends.length - 1;
  }

  /** The number of the oldest event that is still here. */
  get first() {
    return this.#segments[0].first;
  }

  /** Writes an event down and wakes the readers; throws when the disk does not take it. */
  append(device, type, fields) {
    const [seq, at] = [this.last + 1, new Date().toISOString()];
    const event = { seq, boot_id: this.bootId, at, device, type, ...fields };
    const line = Buffer.from(`${JSON.stringify(event)}\n`);
    const segment = this.#current;
    const end = segment.ends.at(-1) ?? 0;
    try {
      fs.writeSync(this.#file, line);
    } catch (error) {
      fs.ftruncateSync(this.#file, end);
      throw error;
    }
    segment.ends.push(end + line.length);
    if (end + line.length >= this.#limits.segmentBytes) this.#rotate();
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
    return seq;
  }

  /** Events up to this number are needed no longer. */
  acknowledge(upto) {
    this.acked = Math.max(this.acked, upto);
    if (this.acked >= this.last && this.#current.ends.length > 0) this.#rotate();
    while (this.#segments.length > 1 && this.#segments[1].first <= this.acked + 1) this.#drop();
  }

  /** Some whole lines behind this number and the number of the last of them; null without any. */
  read(after) {
    const segment = this.#segments.find(
      ({ first, ends }) => ends.length > 0 && first + ends.length - 1 > after,
    );
    if (!segment) return null;
    const from = Math.max(after - segment.first, -1);
    const begin = segment.ends[from] ?? 0;
    let to = from + 1;
    while (to + 1 < segment.ends.length && segment.ends[to + 1] - begin <= READ_BYTES) to += 1;
    const lines = Buffer.alloc(segment.ends[to] - begin);
    const file = fs.openSync(segment.path, "r");
    try {
      fs.readSync(file, lines, 0, lines.length, begin);
    } finally {
      fs.closeSync(file);
    }
    return { lines, last: segment.first + to };
  }

  /** Settles when there is something behind this number, or when the signal aborts. */
  async more(after, signal) {
    if (this.last > after || signal.aborted) return;
    await new Promise((wake) => {
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }

  close() {
    fs.closeSync(this.#file);
  }

  get #current() {
    return this.#segments.at(-1);
  }

  #identity() {
    const path = join(this.#folder, "log-id");
    try {
      return fs.readFileSync(path, "utf8");
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
    const id = randomUUID();
    fs.writeFileSync(`${path}.new`, id, { mode: 0o600 });
    fs.renameSync(`${path}.new`, path);
    return id;
  }

  #load(name) {
    const path = join(this.#folder, name);
    const content = fs.readFileSync(path);
    const ends = [];
    for (let at = content.indexOf(10); at !== -1; at = content.indexOf(10, at + 1)) {
      ends.push(at + 1);
    }
    if ((ends.at(-1) ?? 0) < content.length) fs.truncateSync(path, ends.at(-1) ?? 0);
    return { path, first: Number.parseInt(name, 10), ends };
  }

  #begin(first) {
    const path = join(this.#folder, `${first}.ndjson`);
    this.#file = fs.openSync(path, "a", 0o600);
    this.#segments.push({ path, first, ends: [] });
  }

  #rotate() {
    const next = this.last + 1;
    fs.closeSync(this.#file);
    this.#begin(next);
    const bytes = () => this.#segments.reduce((sum, s) => sum + (s.ends.at(-1) ?? 0), 0);
    while (bytes() > this.#limits.logBytes) this.#drop();
  }

  #drop() {
    fs.rmSync(this.#segments.shift().path, { force: true });
    this.acked = Math.max(this.acked, this.first - 1);
  }
}
