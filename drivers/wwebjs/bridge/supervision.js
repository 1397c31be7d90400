import { log, nameOf } from "./log.js";

const MISSED_PULSES = 3;

/** Asks a running engine how it is, and has the device started anew when it is not well. */
export class Supervision {
  #device;
  #settings;
  #timer = null;
  #engine = null;
  #missed = 0;
  #begun = 0;
  #codeAsked = 0;

  constructor(device, settings) {
    this.#device = device;
    this.#settings = settings;
  }

  watch(engine) {
    this.#engine = engine;
    this.#missed = 0;
    this.#begun = this.#codeAsked = Date.now();
    this.#next();
  }

  stop() {
    this.#engine = null;
    clearTimeout(this.#timer);
  }

  codeAsked() {
    this.#codeAsked = Date.now();
  }

  #next() {
    const { pulse, quickPulse } = this.#settings.times;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.#beat(this.#engine),
      this.#device.state === "ready" ? pulse : quickPulse,
    );
  }

  async #beat(engine) {
    try {
      await engine.pulse();
      this.#missed = 0;
    } catch (error) {
      this.#missed += 1;
      log("pulse_missed", { device: this.#device.id, error: nameOf(error) });
    }
    if (this.#engine !== engine) return;
    const reason = this.#reason(engine);
    if (reason === "unscanned") this.#device.unscanned();
    else if (reason === "planned" || reason === "memory") this.#device.restart(reason);
    else if (reason) this.#device.fail(reason);
    else this.#next();
  }

  #reason(engine) {
    const { times, limits, quietHour } = this.#settings;
    const { state, since, outbox } = this.#device;
    const lasted = Date.now() - since;
    if (this.#missed >= MISSED_PULSES) return "unresponsive";
    if (state === "syncing" && lasted > times.stuckSyncing) return "stuck";
    if (state === "reconnecting" && lasted > times.stuckReconnecting) return "stuck";
    if (state === "starting" && lasted > times.start) return "stuck";
    if (state === "qr" && Date.now() - this.#codeAsked > times.unscanned) return "unscanned";
    if (state !== "ready" || outbox.size > 0) return null;
    const age = Date.now() - this.#begun;
    // One that is large from the start would be no smaller anew.
    if (age > times.settled && engine.bytes() > limits.browserBytes) return "memory";
    return age > times.planned && new Date().getHours() === quietHour ? "planned" : null;
  }
}
