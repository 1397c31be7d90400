/** An engine on a WhatsApp that does what the test says. */
export class Played {
  acks = new Map();
  sends = [];
  hold = Promise.resolve();
  pulses = 0;
  size = 0;

  constructor(listener) {
    this.listener = listener;
  }

  async start() {
    this.listener.linked();
    await this.becomeReady();
  }

  becomeReady() {
    return this.listener.ready({ me: "+60123456789", version: "1", missing: [] });
  }

  chatWith = async (digits) => ({ chat: `${digits}@c.us`, isNew: false });
  isRegistered = async () => true;
  acksOf = async (pairs) =>
    pairs.filter(([id]) => this.acks.has(id)).map(([id]) => [id, this.acks.get(id)]);
  inboundSince = async () => [];
  close = async () => {};
  bytes = () => this.size;

  async pulse() {
    this.pulses += 1;
    return { state: "CONNECTED" };
  }

  async send(waId) {
    this.sends.push(waId);
    await this.hold;
    this.acks.set(waId, this.ack ?? 1);
    return waId;
  }
}

/** Returns when it is so; the limit is that of the test. */
export async function until(so) {
  while (!so()) await new Promise(setImmediate);
}
