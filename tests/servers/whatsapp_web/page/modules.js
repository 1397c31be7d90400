/** The modules that the page offers by name, as far as the contract names them, and no others. */
"use strict";

const bytes = (length) => crypto.getRandomValues(new Uint8Array(length));

class OpaqueData {
  static async createFromData(blob, type) {
    return Object.assign(new OpaqueData(), { blob, type });
  }

  url() {
    return "blob:here";
  }

  autorelease() {}

  formData() {
    return this.blob;
  }
}

async function prepared(opaque, { asDocument }) {
  const digest = await crypto.subtle.digest("SHA-256", await opaque.blob.arrayBuffer());
  const fields = {
    type: !asDocument && opaque.type.startsWith("image/") ? "image" : "document",
    mimetype: opaque.type,
    filehash: btoa(String.fromCharCode(...new Uint8Array(digest))),
  };
  const set = function set(more) {
    Object.assign(fields, more);
    Object.assign(this, more);
  };
  return { ...fields, mediaBlob: opaque, set, toJSON: () => fields };
}

const modules = {
  WABase64: { encodeB64: (data) => btoa(String.fromCharCode(...data)) },
  WALinkify: { findLink: () => null, findLinks: () => [] },
  WAWebAdvSignatureApi: {},
  WAWebAltDeviceLinkingApi: {
    setPairingType() {},
    async initializeAltDeviceLinking() {},
    startAltLinkingFlow: async (phone) => (await app.ask({ type: "pair", phone })).code,
  },
  WAWebCallCollection: {},
  WAWebChatGetters: { getIsNewsletter: () => false, getIsBroadcast: () => false },
  WAWebCmd: { Cmd: Object.assign(Cmd, { refreshQR: () => app.send({ type: "refresh" }) }) },
  WAWebCollections: { Msg, Chat, Contact },
  WAWebCompanionRegClientUtils: { DEVICE_PLATFORM: "1" },
  WAWebConnModel: { Conn },
  WAWebFindChatAction: {
    async findOrCreateLatestChat(wid) {
      return { chat: await app.chat(wid) };
    },
  },
  WAWebGetEphemeralFieldsMsgActionsUtils: { getEphemeralFields: () => ({}) },
  WAWebMediaDataUtils: { shouldUseMediaCache: () => false },
  WAWebMediaMmsV4Upload: { uploadMedia: async () => ({ mediaEntry: { directPath: "/here" } }) },
  WAWebMediaOpaqueData: OpaqueData,
  WAWebMediaStorage: {
    getOrCreateMediaObject: (filehash) => ({ filehash, type: "image", consolidate() {} }),
  },
  WAWebMmsMediaTypes: { msgToMediaType: ({ type }) => type, castToV4: (type) => type },
  WAWebMsgKey: MsgKey,
  WAWebOfflineHandler: { OfflineMessageHandler: { getOfflineDeliveryProgress: () => 100 } },
  WAWebPrepRawMedia: {
    prepRawMedia: (opaque, wishes) => ({ waitForPrep: () => prepared(opaque, wishes) }),
  },
  WAWebQueryExistsJob: {
    async queryWidExists(wid) {
      const { found, phone } = await app.ask({ type: "exists", user: wid.user });
      if (!found) return null;
      app.know(new Wid(found), phone);
      return { wid: new Wid(found) };
    },
  },
  WAWebSendMsgChatAction: { addAndSendMsgToChat: (...given) => app.addAndSend(...given) },
  WAWebSignalStoreApi: {
    waSignalStore: { getRegistrationInfo: async () => ({ identityKeyPair: { pubKey: bytes(32) } }) },
  },
  WAWebSocketModel: { Socket },
  WAWebSyncGatingUtils: {},
  WAWebUserPrefsInfoStore: {
    waNoiseInfo: { get: async () => ({ staticKeyPair: { pubKey: bytes(32) } }) },
  },
  WAWebUserPrefsMeUser: { getMaybeMePnUser: () => app.me, getMaybeMeLidUser: () => app.lid },
  WAWebUserPrefsMultiDevice: { getADVSecretKey: () => "secret" },
  WAWebWidFactory: { createWid: (text) => new Wid(text) },
};

Socket.logout = async () => {
  await app.ask({ type: "logout" });
  setTimeout(app.leave, 20);
};
Msg.modelClass = MsgModel;
Msg.getMessagesById = async (keys) => {
  const rows = await Promise.all(keys.map((key) => disk.get("messages", key)));
  return { messages: rows.filter(Boolean).map((row) => MsgModel.revived(row)) };
};

// Exactly the contract: what it names is here, and nothing else can be had.
for (const [name, members] of Object.entries(window.CONTRACT)) {
  for (const member of members) {
    const path = member.split(".");
    const owner = path.slice(0, -1).reduce((value, key) => value?.[key], modules[name]);
    if (!owner || !(path.at(-1) in owner)) throw new Error(`not offered: ${name}.${member}`);
  }
}
for (const name of OPTIONS.missing) {
  const [module, ...path] = name.split(".");
  if (path.length === 0) delete modules[module];
  else delete path.slice(0, -1).reduce((value, key) => value[key], modules[module])[path.at(-1)];
}
window.require = (name) => {
  if (!(name in window.CONTRACT) || !(name in modules)) {
    app.send({ type: "unknown", name });
    throw new Error(`no module ${name}`);
  }
  return modules[name];
};
app.begin();
