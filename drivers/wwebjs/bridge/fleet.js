import fs from "node:fs";
import os from "node:os";
import { join } from "node:path";

import { Device } from "./device.js";
import { Problem } from "./problem.js";

/** The devices of a bridge, each in a folder of its name; browsers start one at a time. */
export class Fleet {
  #folder;
  #settings;
  #devices = new Map();
  #bridge;
  #starting = Promise.resolve();

  /** `makeEngine(device, folder, listener)` makes what runs a device. */
  constructor({ settings, journal, makeEngine }) {
    this.#settings = settings;
    this.#folder = join(settings.folder, "devices");
    fs.mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const gate = (start) => this.#one(start);
    this.#bridge = { settings, journal, makeEngine, gate };
    for (const id of fs.readdirSync(this.#folder)) this.#add(id);
  }

  /** Brings up what was up and has its phone. */
  restore() {
    for (const device of this.#devices.values()) {
      if (device.memory.desired === "up" && device.memory.linked) device.up();
    }
  }

  get size() {
    return this.#devices.size;
  }

  all() {
    return [...this.#devices.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
  }

  get(id) {
    const device = this.#devices.get(id);
    if (!device) throw new Problem(404, "unknown_device", "There is no such device.");
    return device;
  }

  /** What is wanted of a device, which is made if need be. */
  async put(id, { desired, proxy }) {
    const known = this.#devices.get(id);
    if (desired === "up" && !known?.runs) this.#findRoom();
    const device = known ?? this.#add(id);
    device.memory.desire(desired, proxy === undefined ? device.memory.proxy : proxy);
    if (desired === "up") device.up();
    else await device.down();
    return device;
  }

  async remove(id) {
    const device = this.#devices.get(id);
    this.#devices.delete(id);
    await device?.remove();
  }

  /** Closes every browser; what is wanted of the devices stays. */
  async close() {
    await Promise.all(this.all().map((device) => device.close()));
  }

  #add(id) {
    const device = new Device(id, join(this.#folder, id), this.#bridge);
    this.#devices.set(id, device);
    return device;
  }

  #findRoom() {
    const running = this.all().filter((device) => device.runs).length;
    if (running >= this.#settings.maxDevices || freeBytes() < this.#settings.limits.freeBytes) {
      const later = { "Retry-After": "60" };
      throw new Problem(503, "no_room", "The bridge has no room for another browser.", {}, later);
    }
  }

  #one(start) {
    const started = this.#starting.then(start);
    this.#starting = started.catch(() => {});
    return started;
  }
}

/** What Linux can still give away, page cache included. */
function freeBytes() {
  try {
    const text = fs.readFileSync("/proc/meminfo", "utf8");
    return Number(/^MemAvailable: +(\d+)/m.exec(text)[1]) * 1024;
  } catch {
    return os.freemem();
  }
}
