/**
 * What runs inside WhatsApp's page. Each function is sent there as text, so it sees nothing of this
 * file; `window.require` is the page's own.
 */

/** What the contract names and the page does not have, as `module` or `module.member`. */
export function missing(contract) {
  const absent = [];
  for (const [name, members] of Object.entries(contract)) {
    let module;
    try {
      module = window.require(name);
    } catch {
      module = undefined;
    }
    if (module === undefined || module === null) {
      absent.push(name);
      continue;
    }
    for (const member of members) {
      const path = member.split(".");
      const last = path.pop();
      const owner = path.reduce((value, key) => value?.[key], module);
      const holder = owner === undefined || owner === null ? {} : Object(owner);
      if (!(last in holder)) absent.push(`${name}.${member}`);
    }
  }
  return absent;
}

/**
 * Lets the caller of the library's `sendMessage` choose the id: `extra.hantarId` travels with the
 * call, and the page is given it at the very moment it asks for a new one. Answers whether it is.
 */
export async function chooseIds() {
  const key = window.require("WAWebMsgKey");
  if (!key.hantarNewId) {
    const newId = key.newId;
    key.hantarNewId = newId;
    key.newId = async (...rest) => {
      const id = window.hantarNextId;
      window.hantarNextId = null;
      return id ?? newId.apply(key, rest);
    };
  }
  const library = window.WWebJS;
  if (!library.hantarSendMessage) {
    const [sendMessage, processMediaData] = [library.sendMessage, library.processMediaData];
    library.hantarSendMessage = sendMessage;
    library.sendMessage = (chat, content, options) => {
      const { hantarId, ...extra } = options.extraOptions ?? {};
      options.extraOptions = extra;
      // A text reaches newId within this call, a file right behind its upload.
      if (options.media) options.media.hantarId = hantarId;
      else window.hantarNextId = hantarId ?? null;
      const sent = sendMessage(chat, content, options);
      window.hantarNextId = null;
      return sent;
    };
    library.processMediaData = async (media, options) => {
      const data = await processMediaData(media, options);
      window.hantarNextId = media.hantarId ?? null;
      return data;
    };
  }
  window.hantarNextId = "3EB0";
  return (await window.require("WAWebMsgKey").newId()) === "3EB0";
}

/** How the page is, with a hand where it does not help itself. */
export function pulse(mayAnnounce) {
  const { Socket } = window.require("WAWebSocketModel");
  const { state, hasSynced } = Socket;
  if (state === "UNPAIRED_IDLE") window.require("WAWebCmd").Cmd.refreshQR();
  const announces = Boolean(
    mayAnnounce && state === "CONNECTED" && hasSynced && window.onAppStateHasSyncedEvent,
  );
  if (announces) window.onAppStateHasSyncedEvent();
  return { state: state ?? null, announces };
}

/** The chat with a phone, null without WhatsApp, and whether it is new. */
export async function chatWith(digits) {
  const { Chat } = window.require("WAWebCollections");
  const wid = window.require("WAWebWidFactory").createWid(`${digits}@c.us`);
  const known = Chat.get(wid);
  if (known) return { chat: known.id._serialized, isNew: false };
  const found = await window.require("WAWebQueryExistsJob").queryWidExists(wid);
  if (!found?.wid) return null;
  const isNew = !Chat.get(found.wid);
  const { chat } = await window
    .require("WAWebFindChatAction")
    .findOrCreateLatestChat(found.wid);
  return { chat: chat.id._serialized, isNew };
}

export async function isRegistered(digits) {
  const wid = window.require("WAWebWidFactory").createWid(`${digits}@c.us`);
  const found = await window.require("WAWebQueryExistsJob").queryWidExists(wid);
  return Boolean(found?.wid);
}

/** The acks of sent messages, given as pairs of wa_id and chat; those not found are left out. */
export async function acksOf(messages) {
  const { Msg } = window.require("WAWebCollections");
  const acks = [];
  for (const [waId, chat] of messages) {
    const key = `true_${chat}_${waId}`;
    const message = Msg.get(key) ?? (await Msg.getMessagesById([key]))?.messages?.[0];
    if (message) acks.push([waId, message.ack]);
  }
  return acks;
}

/** Messages from single persons: those of these keys, or all since then, in seconds. */
export function inbound({ keys, since }) {
  const { Contact, Msg } = window.require("WAWebCollections");
  const silent = ["ciphertext", "e2e_notification", "notification_template", "protocol", "revoked"];
  const phoneOf = (wid) => {
    if (wid.server === "c.us") return `+${wid.user}`;
    const phone = Contact.get(wid)?.phoneNumber;
    return phone ? `+${phone.user}` : null;
  };
  const given = keys ? keys.map((key) => Msg.get(key)) : Msg.getModelsArray();
  return given
    .filter((message) => {
      if (!message || message.id.fromMe || silent.includes(message.type)) return false;
      return ["c.us", "lid"].includes(message.id.remote?.server) && message.t >= since;
    })
    .sort((one, other) => one.t - other.t)
    .map((message) => ({
      wa_id: message.id.id,
      from: message.id.remote._serialized,
      phone: phoneOf(message.id.remote),
      // Half of a pair, as a cut emoji leaves it, is no JSON that everybody reads.
      text: ((message.type === "chat" ? message.body : message.caption) ?? "").toWellFormed(),
      kind: message.type,
      t: message.t,
    }));
}
