import fs from "node:fs";
import { join } from "node:path";

import { Unreachable } from "./engine/engine.js";
import { log, nameOf } from "./log.js";
import { Memory } from "./memory.js";
import { Outbox } from "./outbox.js";
import { Problem } from "./problem.js";
import { Supervision } from "./supervision.js";

const HOUR_MS = 3600 * 1000;

/** One linked device: its state, and the engine that runs it while it is wanted. */
export class Device {
  #bridge;
  #folder;
  #engine = null;
  #retired = Promise.resolve();
  #again = null;
  #code = null;
  #pairing = null;
  #failures = [];
  #tries = 0;
  #supervision;

  state = "stopped";
  reason = null;
  since = new Date();
  version = null;
  missing = null;
  lastAckAt = null;
  restarts = [];

  /** The bridge has `journal`, `settings`, `gate` and `makeEngine`. */
  constructor(id, folder, bridge) {
    this.id = id;
    this.#folder = folder;
    this.#bridge = bridge;
    this.memory = new Memory(join(folder, "memory.ndjson"));
    this.outbox = new Outbox(this, this.memory, bridge.settings);
    this.#supervision = new Supervision(this, bridge.settings);
    if (this.memory.desired === "up" && !this.memory.linked) this.state = "logged_out";
  }

  /** The engine while it may be asked for anything, else null. */
  get engine() {
    return this.state === "ready" ? this.#engine : null;
  }

  /** The engine in whatever state. */
  get anyEngine() {
    return this.#engine;
  }

  get runs() {
    return this.#engine !== null || this.#again !== null;
  }

  view() {
    const { id, state, reason, version, missing, lastAckAt, memory } = this;
    return {
      id,
      desired: memory.desired,
      state,
      reason,
      since: this.since.toISOString(),
      me: memory.me,
      wa_web_version: version,
      last_ack_at: lastAckAt?.toISOString() ?? null,
      restarts: this.#recentRestarts().length,
      queued: this.outbox.size,
      memory_bytes: this.#engine?.bytes() ?? null,
      missing,
    };
  }

  /** Brought up when it does not run. */
  up() {
    if (this.runs) return;
    this.#failures = [];
    this.#tries = 0;
    this.#start("desired");
  }

  async down() {
    this.#set("stopped", "desired");
    await this.#retire();
  }

  restart(reason = "restart") {
    this.#failures = [];
    this.#retire();
    this.#start(reason);
  }

  /** Unlinked at WhatsApp if it can be told, here in any case. */
  async logout() {
    try {
      if (this.state === "ready") await this.#engine.logout();
    } catch (error) {
      log("logout_not_told", { device: this.id, error: nameOf(error) });
    }
    await this.#unlink("logout");
  }

  async remove() {
    this.#set("stopped", "desired");
    await this.#retire();
    this.memory.close();
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }

  async close() {
    await this.#retire();
    this.memory.close();
  }

  /** The code that a phone has to scan. */
  qr() {
    this.#supervision.codeAsked();
    if (this.state !== "qr" || !this.#code) throw this.noCode();
    return this.#code;
  }

  /** The code to type on a phone, which is notified of each: while one is young it stays. */
  pairingCode(phone) {
    this.#supervision.codeAsked();
    if (this.state !== "qr") throw this.noCode();
    const { pairing } = this.#bridge.settings.times;
    if (this.#pairing?.phone === phone && Date.now() - this.#pairing.at < pairing) {
      return this.#pairing.shown;
    }
    const at = Date.now();
    const shown = this.#engine
      .pairingCode(phone.slice(1))
      .then((code) => ({ code, issued_at: new Date(at).toISOString() }));
    const asked = { phone, at, shown };
    this.#pairing = asked;
    shown.catch(() => {
      if (this.#pairing === asked) this.#pairing = null;
    });
    return shown;
  }

  noCode() {
    return new Problem(409, "no_code", "The device shows no code.", { state: this.state });
  }

  notReady() {
    const { state } = this;
    return new Problem(503, "device_not_ready", "The device is not ready.", { state });
  }

  /** It does not work any more: started anew, after a while, unless that goes on and on. */
  fail(reason) {
    if (!this.#engine) return;
    log("device_failed", { device: this.id, reason });
    this.#retire();
    if (reason === "id_not_honoured") {
      this.missing = ["WAWebMsgKey.newId"];
      return void this.#set("incompatible", reason);
    }
    this.#set(reason === "unreachable" ? "reconnecting" : "crashed", reason);
    if (reason !== "unreachable") this.#failures.push(Date.now());
    this.#failures = this.#failures.filter((at) => at > Date.now() - HOUR_MS);
    if (this.#failures.length > this.#bridge.settings.limits.restartsAnHour) return;
    const { backOff, longestBackOff } = this.#bridge.settings.times;
    const wait = Math.min(backOff * 2 ** this.#tries, longestBackOff);
    this.#tries += 1;
    this.#again = setTimeout(() => this.#start(reason), wait);
  }

  /** A code that nobody wants: the browser is closed until somebody does. */
  unscanned() {
    this.#retire();
    this.#set("logged_out", "unscanned");
  }

  #start(reason) {
    clearTimeout(this.#again);
    this.#again = null;
    this.missing = null;
    this.#set("starting", reason);
    if (reason !== "desired") this.restarts.push(Date.now());
    const { makeEngine, gate } = this.#bridge;
    const engine = makeEngine(this, this.#folder, this.#listener(() => this.#engine === engine));
    this.#engine = engine;
    const launched = this.#retired.then(() =>
      gate(async () => {
        if (this.#engine !== engine) return;
        await engine.start();
        if (this.#engine === engine) this.#supervision.watch(engine);
      }),
    );
    launched.catch((error) => {
      if (this.#engine !== engine) return;
      log("start_failed", { device: this.id, error: nameOf(error) });
      this.fail(error instanceof Unreachable ? "unreachable" : "start_failed");
    });
  }

  /** Ends the engine; the next one starts behind it. */
  #retire({ wipe = false } = {}) {
    const engine = this.#engine;
    this.#engine = null;
    this.#code = null;
    this.#pairing = null;
    clearTimeout(this.#again);
    this.#again = null;
    this.#supervision.stop();
    this.outbox.interrupt();
    const session = join(this.#folder, "session");
    this.#retired = this.#retired
      .then(() => engine?.close())
      .then(() => wipe && fs.promises.rm(session, { recursive: true, force: true, maxRetries: 5 }))
      .catch((error) => log("retire_failed", { device: this.id, error: nameOf(error) }));
    return this.#retired;
  }

  async #unlink(reason) {
    const gone = this.#retire({ wipe: true });
    this.memory.unlink();
    this.#set("logged_out", reason);
    await gone;
  }

  /** What an engine tells; of no concern once another one runs. */
  #listener(current) {
    const heard = {
      code: (text) => this.#showCode(text),
      linked: () => this.state !== "ready" && this.#set("syncing", null),
      ready: (about) => this.#becomeReady(about, current),
      away: () => ["ready", "syncing"].includes(this.state) && this.#set("reconnecting", null),
      ended: (reason) => this.#ended(reason),
      ack: (waId, ack) => this.#acked(waId, ack),
      inbound: (message) => this.#heard(message, false),
    };
    return Object.fromEntries(
      Object.entries(heard).map(([name, hear]) => [name, (...said) => current() && hear(...said)]),
    );
  }

  #showCode(text) {
    // A page with a link shows no code: the phone ended it while nobody looked.
    if (this.memory.linked) return void this.#unlink("unlinked");
    this.#code = { code: text, issued_at: new Date().toISOString() };
    this.#set("qr", null);
    this.#tell("qr", { code: text });
  }

  async #becomeReady({ me, version, missing }, current) {
    this.version = version;
    if (missing.length > 0) {
      this.missing = missing;
      this.#retire();
      return this.#set("incompatible", null);
    }
    this.memory.link(me);
    const [acks, messages] = [
      await this.#engine.acksOf(this.memory.open()),
      await this.#engine.inboundSince(this.memory.since),
    ];
    if (!current()) return;
    acks.forEach(([waId, ack]) => this.#acked(waId, ack));
    messages.forEach((message) => this.#heard(message, true));
    this.#code = null;
    this.#tries = 0;
    this.#set("ready", null);
  }

  #ended(reason) {
    if (reason === "unlinked") return void this.#unlink(reason);
    if (reason !== "conflict") return this.fail(reason);
    this.#retire();
    this.#set("conflict", null);
  }

  #acked(waId, ack) {
    this.outbox.acked(waId, ack);
    if (!this.memory.rises(waId, ack)) return;
    this.#tell("ack", { wa_id: waId, ack });
    this.memory.acked(waId, ack);
    this.lastAckAt = new Date();
  }

  #heard(message, swept) {
    if (this.memory.knows(message.wa_id)) return;
    const t = new Date(message.t * 1000).toISOString();
    this.#tell("inbound", { ...message, t, swept });
    this.memory.heard(message.wa_id, message.t);
  }

  #set(state, reason) {
    if (state === this.state && reason === this.reason) return;
    [this.state, this.reason, this.since] = [state, reason, new Date()];
    log("device_state", { device: this.id, state, reason });
    this.#tell("state", { state, reason, me: this.memory.me, missing: this.missing });
  }

  #tell(type, fields) {
    this.#bridge.journal.append(this.id, type, fields);
  }

  #recentRestarts() {
    this.restarts = this.restarts.filter((at) => at > Date.now() - HOUR_MS);
    return this.restarts;
  }
}
