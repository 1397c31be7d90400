import { once } from "node:events";

import { Problem } from "./problem.js";

/** Writes events to readers, each at its own pace: what one has not taken stays on disk. */
export class Streams {
  #journal;
  #settings;
  #readers = new Set();

  constructor(journal, settings) {
    this.#journal = journal;
    this.#settings = settings;
  }

  /** Keeps writing until the reader leaves, stalls, or all are ended. */
  async serve(response, { after, log }) {
    if (this.#readers.size >= this.#settings.limits.readers) {
      throw new Problem(429, "busy", "There are too many readers.", {}, { "Retry-After": "1" });
    }
    const leaving = new AbortController();
    this.#readers.add(leaving);
    response.on("close", () => leaving.abort());
    const heartbeat = setInterval(() => {
      if (!response.writableNeedDrain) this.#line(response, this.#pulse());
    }, this.#settings.times.heartbeat);
    try {
      response.writeHead(200, { "Content-Type": "application/x-ndjson" });
      await this.#write(response, after ?? this.#journal.acked, log, leaving.signal);
    } finally {
      clearInterval(heartbeat);
      this.#readers.delete(leaving);
      response.destroy();
    }
  }

  close() {
    for (const leaving of this.#readers) leaving.abort();
  }

  async #write(response, after, log, signal) {
    const { bootId, logId } = this.#journal;
    const hello = { type: "hello", protocol: 1, boot_id: bootId, log_id: logId };
    this.#line(response, { ...hello, seq: this.#journal.last });
    let at = after;
    if (log !== null && log !== logId) {
      this.#line(response, { type: "gap", from: after + 1, to: 0 });
      at = this.#journal.first - 1;
    }
    while (!signal.aborted) {
      if (at < this.#journal.first - 1) {
        this.#line(response, { type: "gap", from: at + 1, to: this.#journal.first - 1 });
        at = this.#journal.first - 1;
      }
      const read = this.#journal.read(at);
      if (read) {
        at = read.last;
        if (!response.write(read.lines)) await this.#drained(response, signal);
      } else await this.#journal.more(at, signal);
    }
  }

  async #drained(response, signal) {
    const stalled = AbortSignal.timeout(this.#settings.times.stalledReader);
    await once(response, "drain", { signal: AbortSignal.any([signal, stalled]) }).catch(() =>
      response.destroy(),
    );
  }

  #pulse() {
    return { type: "heartbeat", at: new Date().toISOString(), seq: this.#journal.last };
  }

  #line(response, line) {
    response.write(`${JSON.stringify(line)}\n`);
  }
}
