/** The page's program: its socket to the server, the chats and messages. */
"use strict";

const OPTIONS = window.OPTIONS;
const Socket = new Emitter();
const Conn = new Emitter();
const Cmd = new Emitter();
const Msg = new Collection();
const Chat = new Collection();
const Contact = new Collection();
Object.assign(Socket, { state: "OPENING", hasSynced: false });
Object.assign(Conn, { ref: null, pushname: "A phone", platform: "android" });
Conn.serialize = () => ({ pushname: Conn.pushname, platform: Conn.platform });

const app = { me: null, lid: null, wire: null, asked: new Map(), questions: 0 };

app.become = (state) => {
  if (Socket.state === state) return;
  Socket.state = state;
  Socket.fire("change:state", Socket, state);
};

app.send = (frame) => {
  if (app.wire?.readyState !== WebSocket.OPEN) return false;
  app.wire.send(JSON.stringify(frame));
  return true;
};

app.ask = (frame) =>
  new Promise((resolve) => {
    const q = (app.questions += 1);
    app.asked.set(q, resolve);
    app.send({ ...frame, q });
  });

app.connect = async () => {
  const session = await disk.get("session", "session");
  app.wire = new WebSocket(`wss://${location.host}/ws`);
  app.wire.onopen = () => app.send({ type: "hello", token: session?.token ?? null });
  app.wire.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    app.turn = (app.turn ?? Promise.resolve()).then(() => app.take[frame.type](frame));
  };
  app.wire.onclose = () => {
    if (Socket.state === "CONNECTED") app.become("OPENING");
    Socket.hasSynced = false;
    setTimeout(app.connect, 200);
  };
};

/** As soon as somebody listens for it, or at once, which nobody notices. */
app.sync = () => {
  if (!OPTIONS.sync_at_once && !Socket.listens("change:hasSynced")) {
    return void setTimeout(app.sync, 20);
  }
  if (app.wire.readyState !== WebSocket.OPEN) return;
  Socket.hasSynced = true;
  Socket.fire("change:hasSynced", Socket, true);
  for (const message of Msg.getModelsArray()) {
    if (message.id.fromMe && message.ack === 0) app.hand(message);
  }
};

app.hand = (message) => {
  const { id, body, caption, type } = message;
  app.send({ type: "send", id: id.id, to: id.remote._serialized, body: caption ?? body, kind: type });
};

app.leave = async () => {
  Cmd.fire("logout");
  await disk.clear();
  location.href = "https://web.whatsapp.com/?post_logout=1";
};

app.chat = async (wid) => {
  const known = Chat.get(wid);
  if (known) return known;
  await disk.put("chats", { key: wid._serialized });
  return Chat.add(new ChatModel(wid));
};

app.know = (wid, phone) => Contact.put({ id: wid, phoneNumber: phone ? new Wid(phone) : undefined });

/** What the server says, each frame after the one before is done with. */
app.take = {
  ref({ ref }) {
    Conn.ref = ref;
    Conn.fire("change:ref", Conn, ref);
    app.become("UNPAIRED");
  },
  idle() {
    app.become("UNPAIRED_IDLE");
  },
  async paired({ token, me, lid }) {
    await disk.put("session", { key: "session", token, me, lid });
    app.become("PAIRING");
    app.send({ type: "hello", token });
  },
  open({ me, lid }) {
    [app.me, app.lid] = [new Wid(me), new Wid(lid)];
    app.become("CONNECTED");
    app.sync();
  },
  async ack({ n, to, id, ack }) {
    const message = Msg.get(`true_${to}_${id}`);
    if (message && (ack > message.ack || ack === -1)) {
      message.ack = ack;
      await disk.put("messages", message.stored());
      Msg.fire("change:ack", message, ack);
    }
    app.send({ type: "got", n });
  },
  async msg({ n, from, phone, id, body, kind, t }) {
    const wid = new Wid(from);
    app.know(wid, phone);
    await app.chat(wid);
    const key = new MsgKey({ to: wid, id, selfDir: "in" });
    if (!Msg.get(key)) {
      const message = new MsgModel({ id: key, from: wid, to: app.me, body, type: kind, t, isNewMsg: true });
      await disk.put("messages", message.stored());
      Msg.add(message);
    }
    app.send({ type: "got", n });
  },
  answer({ q, ...answer }) {
    app.asked.get(q)?.(answer);
    app.asked.delete(q);
  },
  conflict() {
    app.become("CONFLICT");
  },
  logout: () => app.leave(),
  reload: () => location.reload(),
  state({ state }) {
    app.become(state);
  },
};

app.addAndSend = (chat, data) => {
  const message = new MsgModel(data);
  const stored = disk.put("messages", message.stored()).then(() => Msg.add(message));
  const sent = stored.then(() => {
    app.hand(message);
    return { messageSendResult: "OK" };
  });
  return [stored, sent];
};

app.begin = async () => {
  disk.open();
  for (const { key } of await disk.all("chats")) Chat.put(new ChatModel(new Wid(key)));
  for (const row of await disk.all("messages")) Msg.put(MsgModel.revived(row));
  await app.connect();
  // With this option the library finds everything done before it listens.
  while (OPTIONS.sync_at_once && !Socket.hasSynced && Socket.state === "OPENING") {
    await new Promise((next) => setTimeout(next, 10));
  }
  window.Debug = { VERSION: "2.3000.1" };
};
