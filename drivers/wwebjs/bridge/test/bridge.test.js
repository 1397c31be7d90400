import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";

import { Fleet } from "../fleet.js";
import { Journal } from "../journal.js";
import { routes } from "../routes.js";
import { Server } from "../server.js";
import { readSettings } from "../settings.js";
import { Streams } from "../stream.js";
import { waIdOf } from "../wa_id.js";
import { Played, until } from "./parts/played.js";

const PERSON = "+60123456780";
let folder, settings, engines, fleet, journal, server, streams, port;

beforeEach(async () => {
  folder = fs.mkdtempSync(join(os.tmpdir(), "bridge-"));
  engines = [];
  settings = readSettings({
    HANTAR_BRIDGE_FOLDER: folder,
    HANTAR_BRIDGE_BROWSER: "none",
    HANTAR_BRIDGE_LISTEN: "127.0.0.1:0",
    HANTAR_BRIDGE_TEST_TIMES: JSON.stringify({ ack: 100, heartbeat: 50 }),
  });
  fs.mkdirSync(settings.spool);
  journal = new Journal(join(folder, "events"), "boot", settings.limits);
  const makeEngine = (_, __, listener) => engines[engines.push(new Played(listener)) - 1];
  fleet = new Fleet({ settings, journal, makeEngine });
  streams = new Streams(journal, settings);
  const parts = { fleet, journal, streams, settings, health: () => ({ protocol: 1 }) };
  server = new Server(routes(parts), settings);
  port = (await server.open()).port;
});

afterEach(async () => {
  streams.close();
  await Promise.all([server.close(), fleet.close()]);
  journal.close();
  fs.rmSync(folder, { recursive: true });
});

function call(method, path, body, { headers = {}, tcp = false } = {}) {
  const where = tcp ? { host: "127.0.0.1", port } : { socketPath: settings.socket };
  return new Promise((resolve, reject) => {
    const request = http.request({ ...where, method, path, headers, agent: false }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve([response.statusCode, text ? JSON.parse(text) : null]));
    });
    request.on("error", reject);
    request.end(typeof body === "string" ? body : body && JSON.stringify(body));
  });
}

const send = (id, more = {}) =>
  call("POST", "/v1/devices/7/messages", { id, epoch: 1, to: PERSON, text: "hello", ...more });

async function link() {
  await call("PUT", "/v1/devices/7", { desired: "up" });
  await until(() => fleet.get("7").state === "ready");
}

test("the id is the device's and the message's, and of WhatsApp's own shape", () => {
  assert.match(waIdOf("7", "1"), /^3EB0[0-9A-F]{18}$/);
  assert.equal(waIdOf("7", "1"), "3EB0D3D2F5798EA0625E5A");
  assert.notEqual(waIdOf("7", "11"), waIdOf("71", "1"));
});

test("bad bodies are named and change nothing", async () => {
  await link();
  const bodies = ["{", {}, { id: "1" }, { id: "1", epoch: -1, to: PERSON, text: "x" }];
  bodies.push({ id: "1", epoch: 1, to: "123", text: "x" }, { id: "1", epoch: 1, to: PERSON });
  bodies.push({ id: "1", epoch: 1, to: PERSON, text: "x", extra: 1 });
  for (const body of bodies) {
    const [status, answer] = await call("POST", "/v1/devices/7/messages", body);
    assert.deepEqual([status, answer.code], [400, "bad_request"]);
  }
  assert.deepEqual(engines[0].sends, []);
  assert.equal((await call("PUT", "/v1/devices/a%2Fb", { desired: "up" }))[0], 400);
  assert.equal((await call("PATCH", "/v1/devices/7"))[0], 405);
  assert.equal((await call("GET", "/v1/nothing"))[0], 404);
  assert.equal((await call("GET", "/v1/devices/8"))[1].code, "unknown_device");
  const long = JSON.stringify({ text: "x".repeat(300_000) });
  assert.equal((await call("POST", "/v1/devices/7/messages", long))[0], 413);
});

test("over TCP only who has the token is heard, and no web page", async () => {
  const token = fs.readFileSync(join(folder, "token"), "utf8");
  const mode = fs.statSync(join(folder, "token")).mode & 0o777;
  assert.equal(mode, 0o600);
  const authorization = `Bearer ${token}`;
  const asks = async (headers) => (await call("GET", "/v1/health", null, { headers, tcp: true }))[0];
  assert.equal(await asks({ authorization }), 200);
  assert.equal(await asks({}), 401);
  assert.equal(await asks({ authorization: "Bearer no" }), 401);
  assert.equal(await asks({ authorization, origin: "https://example.com" }), 403);
  assert.equal(await asks({ authorization, host: "example.com" }), 403);
  assert.equal(fs.statSync(settings.socket).mode & 0o777, 0o600);
});

test("one send leaves at a time, four wait, the next is told to come later", async () => {
  await link();
  let release;
  engines[0].hold = new Promise((resolve) => (release = resolve));
  const sending = [1, 2, 3, 4, 5].map((n) => send(`m${n}`));
  await until(() => fleet.get("7").outbox.size === 5);
  assert.equal((await send("m6"))[1].code, "busy");
  const joined = send("m1");
  release();
  const answers = await Promise.all(sending);
  assert.deepEqual(answers.map(([status]) => status), [200, 200, 200, 200, 200]);
  assert.equal((await joined)[1].duplicate, true);
  assert.equal(engines[0].sends.length, 5);
});

test("without an ack it is pending, and the ack is an event", async () => {
  await link();
  engines[0].ack = 0;
  const [status, answer] = await send("1");
  assert.deepEqual([status, answer.status], [200, "pending"]);
  engines[0].listener.ack(answer.wa_id, 2);
  engines[0].listener.ack(answer.wa_id, 1);
  engines[0].listener.ack("SOMEBODYELSES", 1);
  const acks = read(0).filter((event) => event.type === "ack");
  assert.deepEqual(acks.map(({ wa_id, ack }) => [wa_id, ack]), [[answer.wa_id, 2]]);
});

test("an id that is not honoured stops the device", async () => {
  await link();
  engines[0].send = async () => "3EB0ANOTHER";
  assert.deepEqual((await send("1"))[1].code, "unknown_outcome");
  const [, device] = await call("GET", "/v1/devices/7");
  assert.deepEqual([device.state, device.missing], ["incompatible", ["WAWebMsgKey.newId"]]);
});

test("events outlive a restart and a torn line, and are trimmed when acknowledged", async () => {
  for (let n = 0; n < 5; n += 1) journal.append("7", "state", { state: String(n) });
  await call("POST", "/v1/events/ack", { upto: 2 });
  assert.equal((await call("POST", "/v1/events/ack", { upto: 99 }))[0], 400);
  const [file] = fs.readdirSync(join(folder, "events")).filter((name) => name.endsWith("ndjson"));
  fs.appendFileSync(join(folder, "events", file), '{"seq":6,"torn');
  const later = new Journal(join(folder, "events"), "later", settings.limits);
  assert.deepEqual([later.last, later.logId], [5, journal.logId]);
  assert.equal(later.append("7", "state", { state: "5" }), 6);
  later.acknowledge(6);
  assert.equal(later.read(0), null);
  assert.equal(later.append("7", "state", { state: "6" }), 7);
  later.close();
});

test("a reader that fell behind what is kept is told of the gap", async () => {
  for (let n = 0; n < 3; n += 1) journal.append("7", "state", { state: String(n) });
  journal.acknowledge(3);
  journal.append("7", "state", { state: "last" });
  const lines = await stream("/v1/events?after=1", 4);
  assert.deepEqual(lines.map(({ type }) => type), ["hello", "gap", "state", "heartbeat"]);
  assert.deepEqual([lines[1].from, lines[1].to, lines[2].seq], [2, 3, 4]);
  const another = await stream("/v1/events?after=4&log=another", 3);
  assert.deepEqual(another.map(({ type }) => type), ["hello", "gap", "state"]);
});

function read(after) {
  const found = journal.read(after);
  return found.lines.toString().trim().split("\n").map((line) => JSON.parse(line));
}

function stream(path, count) {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath: settings.socket, path, agent: false }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
        const lines = text.split("\n").slice(0, -1);
        if (lines.length < count) return;
        request.destroy();
        resolve(lines.slice(0, count).map((line) => JSON.parse(line)));
      });
    });
    request.on("error", (error) => error.code !== "ECONNRESET" && reject(error));
  });
}
