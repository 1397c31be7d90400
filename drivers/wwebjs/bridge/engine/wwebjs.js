import { execFile } from "node:child_process";
import fs from "node:fs";
import { basename } from "node:path";
import { promisify } from "node:util";
import library from "whatsapp-web.js";

import { TimedOut, within } from "../deadline.js";
import { log, nameOf } from "../log.js";
import { Interrupted, Refused, Unreachable } from "./engine.js";
import * as page from "./page.js";
import { bytesOf, clearProfile, KeptProfile, kill, notePid } from "./profile.js";

const CONTRACT = JSON.parse(fs.readFileSync(new URL("../contract.json", import.meta.url)));
const CUT_OFF = /context was destroyed|detached|Target closed|Session closed|Protocol error|closed/i;
const NEVER_MS = 2 ** 31 - 1;
const NET = /net::ERR_|auth timeout/;

/** What browsers of this installation call themselves: a plain Chrome of the engine's version. */
export async function browserIdentity(program) {
  const { stdout } = await promisify(execFile)(program, ["--version"], { timeout: 30_000 });
  const version = /\d+(\.\d+)+/.exec(stdout)[0];
  const agent =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " +
    `Chrome/${version.split(".")[0]}.0.0.0 Safari/537.36`;
  return { version, agent };
}

/** A device on WhatsApp's own page in a browser of its own, through whatsapp-web.js. */
export class WwebjsEngine {
  #listener;
  #folder;
  #times;
  #client;
  #pid = null;
  #closing = null;
  #announced = false;
  #awaySince = Date.now();
  #ready = Promise.resolve();

  constructor({ folder, proxy, settings, agent, listener }) {
    this.#listener = listener;
    this.#folder = folder;
    this.#times = settings.times;
    const address = proxy && new URL(proxy);
    this.#client = new library.Client({
      authStrategy: new KeptProfile(folder, (browser) => this.#launched(browser)),
      authTimeoutMs: settings.times.load,
      userAgent: agent,
      webVersionCache: { type: "none" },
      proxyAuthentication: address?.username
        ? { username: decodeURIComponent(address.username), password: decodeURIComponent(address.password) }
        : undefined,
      puppeteer: {
        executablePath: settings.browser,
        headless: basename(settings.browser).includes("headless") ? "shell" : true,
        // Through a pipe the browser ends with this process, however that ends.
        pipe: true,
        protocolTimeout: settings.times.load,
        timeout: settings.times.load,
        handleSIGINT: false,
        handleSIGTERM: false,
        handleSIGHUP: false,
        args: [
          "--disable-dev-shm-usage",
          "--no-first-run",
          ...(address ? [`--proxy-server=${address.protocol}//${address.host}`] : []),
          ...settings.browserFlags,
        ],
      },
    });
    this.#listen();
  }

  async start() {
    clearProfile(this.#folder);
    try {
      await within(this.#times.start, this.#client.initialize(), "the start");
    } catch (error) {
      // The library throws a bare string when the page is not WhatsApp's.
      if (NET.test(String(error?.message ?? error))) throw new Unreachable();
      throw error;
    }
  }

  chatWith(digits) {
    return this.#evaluate(page.chatWith, digits).catch((error) => {
      const refused = /No LID|wid error|invalid wid/i.test(error.message);
      throw refused ? new Refused("bad_recipient", "WhatsApp has no chat with this phone.") : error;
    });
  }

  isRegistered(digits) {
    return this.#evaluate(page.isRegistered, digits);
  }

  async acksOf(messages) {
    const acks = [];
    for (let from = 0; from < messages.length; from += 200) {
      acks.push(...(await this.#evaluate(page.acksOf, messages.slice(from, from + 200))));
    }
    return acks;
  }

  inboundSince(since) {
    return this.#evaluate(page.inbound, { since });
  }

  async send(waId, chat, { text, media }) {
    const content = media
      ? new library.MessageMedia(media.mime, media.base64, media.filename)
      : text;
    const sent = await this.#call(
      media ? this.#times.sendMedia : this.#times.send,
      this.#client.sendMessage(chat, content, {
        linkPreview: false,
        sendSeen: false,
        parseVCards: false,
        caption: media?.caption,
        sendMediaAsDocument: media?.as_document,
        extra: { hantarId: waId },
      }),
    );
    return sent?.id.id ?? null;
  }

  pairingCode(digits) {
    // Each notifies the phone: the page makes none by itself.
    const code = this.#client.requestPairingCode(digits, true, NEVER_MS);
    return this.#call(this.#times.call, code);
  }

  async pulse() {
    const mute = this.#announced || Date.now() - this.#awaySince < this.#times.unannounced;
    const pulse = this.#client.pupPage.evaluate(page.pulse, !mute);
    const { state, announces } = await within(this.#times.pulseAnswer, pulse, "a pulse");
    if (announces) this.#awaySince = Date.now();
    return { state };
  }

  async logout() {
    await within(this.#times.logout, this.#client.logout(), "the logout");
  }

  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  bytes() {
    return this.#pid === null ? null : bytesOf(this.#pid);
  }

  async #close() {
    try {
      await within(this.#times.close, this.#client.destroy(), "closing");
    } catch (error) {
      log("close_failed", { error: nameOf(error) });
    }
    if (this.#pid !== null) kill(this.#pid);
  }

  #listen() {
    const client = this.#client;
    client.on("qr", (text) => this.#listener.code(text));
    client.on("authenticated", () => this.#listener.linked());
    // Several may come at once; each is done, one after the other.
    client.on("ready", () => {
      this.#ready = this.#ready.then(() => this.#becomeReady());
    });
    client.on("change_state", (state) => {
      if (["OPENING", "TIMEOUT"].includes(state)) this.#away();
    });
    client.on("disconnected", (reason) => {
      const why = { LOGOUT: "unlinked", CONFLICT: "conflict" }[reason];
      this.#listener.ended(why ?? "disconnected");
    });
    client.on("message_ack", (message, ack) => {
      if (message.fromMe) this.#listener.ack(message.id.id, ack);
    });
    client.on("message", (message) => this.#tell(message.id._serialized));
  }

  #launched(browser) {
    this.#pid = browser.process().pid;
    notePid(this.#folder, this.#pid);
    if (this.#closing) return kill(this.#pid);
    browser.on("disconnected", () => this.#listener.ended("browser_gone"));
    const { pupPage } = this.#client;
    pupPage.on("error", () => this.#listener.ended("page_crashed"));
    pupPage.on("close", () => this.#listener.ended("browser_gone"));
    pupPage.on("framenavigated", (frame) => {
      if (frame === pupPage.mainFrame()) this.#away();
    });
  }

  #away() {
    this.#announced = false;
    this.#awaySince = Date.now();
    this.#listener.away();
  }

  async #becomeReady() {
    try {
      const absent = await this.#evaluate(page.missing, CONTRACT);
      const honoured = absent.length > 0 || (await this.#evaluate(page.chooseIds));
      if (!honoured) absent.push("WAWebMsgKey.newId");
      const { user, server } = this.#client.info.wid;
      await this.#listener.ready({
        me: server === "c.us" ? `+${user}` : null,
        version: await this.#call(this.#times.call, this.#client.getWWebVersion()),
        missing: absent,
      });
      this.#announced = true;
    } catch (error) {
      // Whatever cut this off announces itself; if not, the next pulse does it anew.
      log("ready_failed", { error: nameOf(error) });
    }
  }

  async #tell(key) {
    try {
      const messages = await this.#evaluate(page.inbound, { keys: [key], since: 0 });
      messages.forEach((message) => this.#listener.inbound(message));
    } catch (error) {
      log("inbound_left_to_the_sweep", { error: nameOf(error) });
    }
  }

  #evaluate(run, ...given) {
    return this.#call(this.#times.call, this.#client.pupPage.evaluate(run, ...given));
  }

  async #call(ms, promise) {
    try {
      return await within(ms, promise, "a call of the page");
    } catch (error) {
      if (error instanceof TimedOut) throw error;
      throw CUT_OFF.test(error?.message) ? new Interrupted() : error;
    }
  }
}
