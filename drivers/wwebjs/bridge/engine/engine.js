/**
 * The seam to WhatsApp: one linked device while it runs. Another way there (a client without a
 * browser, say) is another class of this shape; the bridge makes one for each start of a device.
 *
 * @typedef {object} Engine
 * @property {() => Promise<void>} start  until the first code or the first sign of a link; throws
 *   Unreachable when WhatsApp cannot be reached
 * @property {(digits: string) => Promise<{chat: string, isNew: boolean} | null>} chatWith
 * @property {(digits: string) => Promise<boolean>} isRegistered
 * @property {(messages: [string, string][]) => Promise<[string, number][]>} acksOf  of pairs of
 *   wa_id and chat, from the client's own store
 * @property {(since: number) => Promise<object[]>} inboundSince
 * @property {(waId: string, chat: string, content: object) => Promise<string | null>} send  hands a
 *   message over; the id it went out under, null when that cannot be told
 * @property {(digits: string) => Promise<string>} pairingCode
 * @property {() => Promise<{state: string | null}>} pulse  how it is; helps where it got stuck
 * @property {() => Promise<void>} logout  ends the link at WhatsApp
 * @property {() => Promise<void>} close  ends everything, by force if need be
 * @property {() => number | null} bytes  memory in use
 *
 * What it tells, each with a method of the listener it is made with:
 *
 * @typedef {object} Listener
 * @property {(text: string) => void} code
 * @property {() => void} linked  the phone is there, messages are being fetched
 * @property {(about: {me: string | null, version: string, missing: string[]}) => Promise<void>} ready
 *   may come again; what `missing` names is not as it was when this was written
 * @property {() => void} away  the connection is down, or the page loads anew
 * @property {(reason: string) => void} ended  `unlinked`, `conflict`, or why it does not run any more
 * @property {(waId: string, ack: number) => void} ack
 * @property {(message: object) => void} inbound
 */

/** WhatsApp cannot be reached; nothing is wrong here. */
export class Unreachable extends Error {}

/** The call met a navigation or a crash: it may have been done. */
export class Interrupted extends Error {}

/** WhatsApp will not take it; the code says why. */
export class Refused extends Error {
  constructor(code, sentence) {
    super(sentence);
    this.code = code;
  }
}
