import { TimedOut, within } from "./deadline.js";
import { Interrupted, Refused } from "./engine/engine.js";
import { Problem } from "./problem.js";
import { waIdOf } from "./wa_id.js";

/**
 * Sends of one device: one at a time, at most a few waiting, and each message once however often it
 * is asked for. The id decides: a message that the page knows under it is not sent again.
 */
export class Outbox {
  #device;
  #memory;
  #times;
  #limits;
  #leaving = Promise.resolve();
  #inFlight = new Map();
  #acks = new Map();
  #unconfirmed = 0;

  /** The device has `engine` while it is ready, else null, and `fail(reason)`. */
  constructor(device, memory, { times, limits }) {
    this.#device = device;
    this.#memory = memory;
    this.#times = times;
    this.#limits = limits;
  }

  get size() {
    return this.#inFlight.size;
  }

  /** Answers as the protocol says; throws Problem for everything that is not 200. */
  async send({ id, epoch, to, text, media }) {
    const waId = waIdOf(this.#device.id, id);
    if (epoch < this.#memory.epoch) {
      const highest = { epoch: this.#memory.epoch };
      throw new Problem(409, "stale_epoch", "The device has seen a higher epoch.", highest);
    }
    this.#memory.raiseEpoch(epoch);
    const earlier = this.#inFlight.get(waId);
    if (earlier) return { ...(await earlier), duplicate: true };
    if (!this.#device.engine) throw this.#device.notReady();
    if (this.#inFlight.size > this.#limits.waitingSends) {
      const later = { "Retry-After": "1" };
      throw new Problem(429, "busy", "Too many sends of the device are waiting.", {}, later);
    }
    const sending = this.#run(waId, to.slice(1), { text, media });
    this.#inFlight.set(waId, sending);
    try {
      return await sending;
    } finally {
      this.#inFlight.delete(waId);
    }
  }

  /** WhatsApp's word on a message. */
  acked(waId, ack) {
    if (ack !== 0) this.#acks.get(waId)?.resolve(ack);
    if (ack > 0) this.#unconfirmed = 0;
  }

  /** The engine is gone: whoever waits for an ack waits in vain. */
  interrupt() {
    for (const { reject } of this.#acks.values()) reject(new Interrupted());
    this.#unconfirmed = 0;
  }

  async #run(waId, digits, content) {
    const confirmed = this.#expectAck(waId);
    const turn = this.#leaving.then(() => this.#leave(waId, digits, content));
    this.#leaving = turn.catch(() => {});
    try {
      const { ack, ...told } = await turn;
      return this.#answer(waId, ack || (await this.#confirmation(confirmed)), told);
    } catch (error) {
      throw this.#problem(error);
    } finally {
      this.#acks.delete(waId);
    }
  }

  async #leave(waId, digits, content) {
    const { engine } = this.#device;
    if (!engine) throw this.#device.notReady();
    const chat = await engine.chatWith(digits);
    if (!chat) throw new Refused("not_on_whatsapp", "The phone is not on WhatsApp.");
    const [found] = await engine.acksOf([[waId, chat.chat]]);
    this.#memory.sending(waId, chat.chat);
    if (found) return { ack: found[1], duplicate: true, new_chat: null };
    const sentAs = await this.#hand(engine, waId, chat.chat, content);
    if (sentAs !== null && sentAs !== waId) {
      this.#device.fail("id_not_honoured");
      throw new Interrupted();
    }
    const [stored] = await engine.acksOf([[waId, chat.chat]]);
    if (!stored) throw new Interrupted();
    return { ack: stored[1], duplicate: false, new_chat: chat.isNew };
  }

  async #hand(engine, waId, chat, content) {
    try {
      return await engine.send(waId, chat, content);
    } catch (error) {
      if (error instanceof TimedOut) this.#device.fail("unresponsive");
      throw error;
    }
  }

  #expectAck(waId) {
    const expected = {};
    expected.ack = new Promise((resolve, reject) => Object.assign(expected, { resolve, reject }));
    expected.ack.catch(() => {});
    this.#acks.set(waId, expected);
    return expected.ack;
  }

  async #confirmation(confirmed) {
    try {
      return await within(this.#times.ack, confirmed, "an ack");
    } catch (error) {
      if (!(error instanceof TimedOut)) throw error;
      this.#watchConfirmations();
      return 0;
    }
  }

  /** The state is fine but nothing gets through: only a new start helps. */
  #watchConfirmations() {
    this.#unconfirmed += 1;
    if (this.#unconfirmed < 2) return;
    setTimeout(() => {
      if (this.#unconfirmed >= 2 && this.#device.engine) this.#device.fail("acks_missing");
    }, this.#times.acksMissing - this.#times.ack).unref();
  }

  #answer(waId, ack, told) {
    if (ack === -1) {
      const members = { wa_id: waId, new_chat: told.new_chat };
      throw new Problem(422, "failed", "WhatsApp refused the message.", members);
    }
    return { wa_id: waId, status: ack > 0 ? "sent" : "pending", ack, ...told };
  }

  #problem(error) {
    if (error instanceof Problem) return error;
    if (error instanceof Refused) return new Problem(422, error.code, error.message);
    const status = error instanceof TimedOut ? 504 : 502;
    return new Problem(status, "unknown_outcome", "The message may have gone out.");
  }
}
