import { TimedOut } from "./deadline.js";
import { BODIES, bad, checked, checkedDevice, checkedPhone, checkedWaId, readMedia } from "./fields.js";
import { log, nameOf } from "./log.js";
import { Problem } from "./problem.js";

/**
 * The endpoints: method, path, and what answers. A handler is given the parts of the path, `query`
 * and `body`, and returns status and body; `stream` takes over the response.
 */
export function routes({ fleet, journal, streams, settings, health }) {
  const device = (id) => fleet.get(checkedDevice(id));
  const ready = (id) => {
    const found = device(id);
    if (!found.engine) throw found.notReady();
    return found.engine;
  };
  return [
    ["GET", "/v1/health", () => [200, health()]],
    ["GET", "/v1/devices", () => [200, { devices: fleet.all().map((one) => one.view()) }]],
    ["GET", "/v1/devices/:", ([id]) => [200, device(id).view()]],
    [
      "PUT",
      "/v1/devices/:",
      async ([id], { body }) => {
        const wanted = checked(body, BODIES.put);
        return [200, (await fleet.put(checkedDevice(id), wanted)).view()];
      },
    ],
    [
      "DELETE",
      "/v1/devices/:",
      async ([id]) => {
        await fleet.remove(checkedDevice(id));
        return [204, null];
      },
    ],
    ["GET", "/v1/devices/:/qr", ([id]) => [200, device(id).qr()]],
    [
      "POST",
      "/v1/devices/:/pairing-code",
      async ([id], { body }) => {
        const { phone } = checked(body, BODIES.pairing);
        return [200, await asked(device(id).pairingCode(phone))];
      },
    ],
    [
      "POST",
      "/v1/devices/:/messages",
      async ([id], { body }) => {
        const send = checked(body, BODIES.send);
        const found = device(id);
        const most = settings.limits.mediaBytes;
        const media = send.media && readMedia(settings.spool, send.media, most);
        return [200, await found.outbox.send({ ...send, media })];
      },
    ],
    [
      "GET",
      "/v1/devices/:/messages/:",
      async ([id, waId], { query }) => {
        const to = checkedPhone(query.get("to"));
        const engine = ready(id);
        const chat = await asked(engine.chatWith(to.slice(1)));
        const found = chat && (await asked(engine.acksOf([[checkedWaId(waId), chat.chat]])))[0];
        return [200, { wa_id: waId, found: Boolean(found), ack: found?.[1] ?? null }];
      },
    ],
    [
      "POST",
      "/v1/devices/:/check",
      async ([id], { body }) => {
        const { phone } = checked(body, BODIES.check);
        return [200, { registered: await asked(ready(id).isRegistered(phone.slice(1))) }];
      },
    ],
    [
      "POST",
      "/v1/devices/:/restart",
      ([id]) => {
        const found = device(id);
        found.restart();
        return [202, found.view()];
      },
    ],
    [
      "POST",
      "/v1/devices/:/logout",
      async ([id]) => {
        const found = device(id);
        await found.logout();
        return [200, found.view()];
      },
    ],
    [
      "GET",
      "/v1/events",
      (_, { query, response }) => streams.serve(response, cursor(query)),
    ],
    [
      "POST",
      "/v1/events/ack",
      (_, { body }) => {
        const { upto } = checked(body, BODIES.ack);
        if (upto > journal.last) throw bad("upto is beyond the last event.");
        journal.acknowledge(upto);
        return [200, { acked: journal.acked }];
      },
    ],
  ];
}

function cursor(query) {
  const after = query.get("after");
  if (after !== null && !/^\d{1,15}$/.test(after)) throw bad("after is malformed.");
  return { after: after === null ? null : Number(after), log: query.get("log") };
}

/** The answer of an engine that was asked something; a question never leaves anything behind. */
async function asked(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Problem) throw error;
    log("question_failed", { error: nameOf(error) });
    const status = error instanceof TimedOut ? 504 : 502;
    throw new Problem(status, "unknown_outcome", "The page gave no answer.");
  }
}
