import { randomUUID } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { browserIdentity, WwebjsEngine } from "./engine/wwebjs.js";
import { Fleet } from "./fleet.js";
import { Journal } from "./journal.js";
import { log, nameOf } from "./log.js";
import { routes } from "./routes.js";
import { Server } from "./server.js";
import { readSettings } from "./settings.js";
import { Streams } from "./stream.js";

const read = createRequire(import.meta.url);

async function run() {
  const settings = readSettings(process.env);
  process.umask(0o077);
  for (const folder of [settings.folder, settings.spool]) {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  }
  let rejections = 0;
  // The library lets its own handlers reject; what matters of that shows in the next pulse.
  process.on("unhandledRejection", (error) => {
    rejections += 1;
    log("unhandled_rejection", { error: nameOf(error) });
  });
  // The pipe of a browser that dies while it is read is nobody's error but the browser's.
  process.on("uncaughtException", (error) => {
    log("uncaught_exception", { error: nameOf(error) });
    if (!["ECONNRESET", "EPIPE"].includes(error.code)) process.exit(1);
  });
  const bootId = randomUUID();
  const identity = await browserIdentity(settings.browser);
  const journal = new Journal(join(settings.folder, "events"), bootId, settings.limits);
  const makeEngine = (device, folder, listener) =>
    new WwebjsEngine({ folder, proxy: device.memory.proxy, settings, agent: identity.agent, listener });
  const fleet = new Fleet({ settings, journal, makeEngine });
  const streams = new Streams(journal, settings);
  const versions = {
    bridge: read("./package.json").version,
    library: read("whatsapp-web.js/package.json").version,
    browser: identity.version,
  };
  const health = () => ({
    protocol: 1,
    boot_id: bootId,
    log_id: journal.logId,
    pid: process.pid,
    versions,
    seq: journal.last,
    acked: journal.acked,
    rss_bytes: process.memoryUsage.rss(),
    devices: fleet.size,
    rejections,
  });
  const server = new Server(routes({ fleet, journal, streams, settings, health }), settings);
  const tcp = await server.open();
  fleet.restore();
  log("listening", { socket: settings.socket, port: tcp?.port ?? null, versions });
  await new Promise((stop) => {
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
  });
  log("stopping");
  streams.close();
  await Promise.all([server.close(), fleet.close()]);
  journal.close();
}

run().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  },
);
