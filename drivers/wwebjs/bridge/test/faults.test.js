import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";

import { Device } from "../device.js";
import { Unreachable } from "../engine/engine.js";
import { Journal } from "../journal.js";
import { LIMITS, readSettings } from "../settings.js";
import { Played, until } from "./parts/played.js";

const LIMIT = { timeout: 20_000 };
/** Shorter than in life, and in the same order. */
const TIMES = {
  pulse: 5,
  quickPulse: 5,
  ack: 10,
  acksMissing: 100,
  stuckSyncing: 100,
  stuckReconnecting: 100,
  backOff: 1,
  longestBackOff: 4,
  settled: 200,
};
let folder, journal, device, engines, played;

beforeEach(() => {
  folder = fs.mkdtempSync(join(os.tmpdir(), "bridge-"));
  const settings = readSettings({
    HANTAR_BRIDGE_FOLDER: folder,
    HANTAR_BRIDGE_BROWSER: "none",
    HANTAR_BRIDGE_TEST_TIMES: JSON.stringify(TIMES),
  });
  journal = new Journal(join(folder, "events"), "boot", settings.limits);
  engines = [];
  played = Played;
  const makeEngine = (_, __, listener) => engines[engines.push(new played(listener)) - 1];
  const bridge = { settings, journal, makeEngine, gate: (start) => start() };
  device = new Device("7", join(folder, "7"), bridge);
});

afterEach(async () => {
  await device.close();
  journal.close();
  fs.rmSync(folder, { recursive: true });
});

/** States that were told, with their reasons. */
function told() {
  const found = journal.read(0);
  const events = found ? found.lines.toString().trim().split("\n").map((line) => JSON.parse(line)) : [];
  return events.filter(({ type }) => type === "state").map(({ state, reason }) => [state, reason]);
}

/** The device failed for the reason, and is ready on a new engine. */
async function recovers(reason) {
  await until(() => engines.length === 2 && device.state === "ready");
  assert.deepEqual(told().slice(-4, -2), [["crashed", reason], ["starting", reason]]);
  assert.deepEqual(told().at(-1), ["ready", null]);
}

async function up() {
  device.up();
  await until(() => device.state === "ready");
}

const send = (id) => device.outbox.send({ id, epoch: 1, to: "+60123456780", text: "hello" });

test("a run of messages that nobody confirms ends in a new start", LIMIT, async () => {
  await up();
  engines[0].ack = 0;
  for (const id of ["1", "2"]) assert.equal((await send(id)).status, "pending");
  await recovers("acks_missing");
});

test("one message that nobody confirms is none, nor are two with a word between", LIMIT, async () => {
  await up();
  engines[0].ack = 0;
  const first = await send("1");
  engines[0].listener.ack(first.wa_id, 1);
  await send("2");
  await new Promise((wake) => setTimeout(wake, 3 * TIMES.acksMissing));
  assert.deepEqual([device.state, engines.length], ["ready", 1]);
});

test("a word that comes late, and yet in time, keeps the browser", LIMIT, async () => {
  await up();
  engines[0].ack = 0;
  const [first] = [await send("1"), await send("2")];
  engines[0].listener.ack(first.wa_id, 1);
  await new Promise((wake) => setTimeout(wake, 3 * TIMES.acksMissing));
  assert.deepEqual([device.state, engines.length], ["ready", 1]);
});

test("a device that never gets in sync is started anew", LIMIT, async () => {
  played = class extends Played {
    async start() {
      this.listener.linked();
      if (engines.length > 1) await this.becomeReady();
    }
  };
  device.up();
  await recovers("stuck");
});

test("a device that does not connect again is started anew", LIMIT, async () => {
  await up();
  engines[0].listener.away();
  assert.equal(device.state, "reconnecting");
  await recovers("stuck");
});

test("a page that answers none of three pulses is started anew", LIMIT, async () => {
  await up();
  engines[0].pulse = () => Promise.reject(new Error("no answer"));
  await recovers("unresponsive");
});

test("a browser that has grown is started anew when nothing is under way", LIMIT, async () => {
  await up();
  let release;
  engines[0].hold = new Promise((resolve) => (release = resolve));
  const sending = send("1");
  await until(() => engines[0].sends.length === 1);
  engines[0].size = LIMITS.browserBytes + 1;
  const began = engines[0].pulses;
  await new Promise((wake) => setTimeout(wake, TIMES.settled));
  await until(() => engines[0].pulses > began + 3);
  assert.equal(device.state, "ready");
  release();
  assert.equal((await sending).status, "sent");
  await until(() => engines.length === 2 && device.state === "ready");
  assert.deepEqual(told().slice(-3, -1), [["starting", "memory"], ["syncing", null]]);
});

test("one that is large from the start is not started over and over", LIMIT, async () => {
  played = class extends Played {
    size = LIMITS.browserBytes + 1;
  };
  const began = Date.now();
  await up();
  await until(() => engines.length === 3);
  assert.ok(Date.now() - began >= 2 * TIMES.settled);
});

test("six new starts in an hour are enough, until somebody asks for the device", LIMIT, async () => {
  played = class extends Played {
    start = () => Promise.reject(new Error("no browser"));
  };
  device.up();
  await until(() => device.state === "crashed" && !device.runs);
  assert.equal(engines.length, 1 + LIMITS.restartsAnHour);
  assert.equal(device.view().restarts, LIMITS.restartsAnHour);
  assert.deepEqual(told().at(-1), ["crashed", "start_failed"]);
  played = Played;
  await up();
  assert.equal(engines.length, 2 + LIMITS.restartsAnHour);
});

test("a WhatsApp that cannot be reached is tried without end", LIMIT, async () => {
  played = class extends Played {
    start = () => Promise.reject(new Unreachable());
  };
  device.up();
  await until(() => engines.length > 2 * LIMITS.restartsAnHour);
  assert.deepEqual([device.reason, device.runs], ["unreachable", true]);
});
