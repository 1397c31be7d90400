import { existsSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";

const BROWSERS = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/** How long things may take and how often they happen, in milliseconds. */
export const TIMES = {
  /** from the launch of a browser to its first code or its first sign of a link */
  start: 150_000,
  /** WhatsApp's page has its program by then */
  load: 90_000,
  /** reading from the page */
  call: 10_000,
  /** handing a text to the page, and then a file, which is uploaded first */
  send: 10_000,
  sendMedia: 40_000,
  /** until WhatsApp confirms what was handed over; then the answer is `pending` */
  ack: 15_000,
  /** asking the page how it is: how often when `ready`, how often else, how long it may take */
  pulse: 15_000,
  quickPulse: 1_000,
  pulseAnswer: 5_000,
  /** linked and in sync, and yet not announced: then the bridge announces it */
  unannounced: 5_000,
  /** after so long in the state the browser is started anew */
  stuckSyncing: 180_000,
  stuckReconnecting: 120_000,
  /** two sends in a row without a confirmation for so long */
  acksMissing: 60_000,
  /** a code nobody asks for */
  unscanned: 600_000,
  /** a code to type is handed out again; it is good for longer */
  pairing: 120_000,
  /** the first wait before a new start, and the longest */
  backOff: 2_000,
  longestBackOff: 300_000,
  /** unlinking at WhatsApp; closing a browser before it is killed */
  logout: 10_000,
  close: 10_000,
  /** a line on every stream of events */
  heartbeat: 10_000,
  /** a reader that takes nothing for so long is cut off */
  stalledReader: 30_000,
  /** a browser as old as this is started anew when it is too large */
  settled: 900_000,
  /** a browser as old as this is started anew in the quiet hour */
  planned: 72_000_000,
};

/** What is allowed at most. */
export const LIMITS = {
  restartsAnHour: 6,
  waitingSends: 4,
  readers: 8,
  browserBytes: 1536 * 2 ** 20,
  /** of free memory, below which no browser is started */
  freeBytes: 400 * 2 ** 20,
  bodyBytes: 256 * 2 ** 10,
  mediaBytes: 64 * 2 ** 20,
  logBytes: 64 * 2 ** 20,
  segmentBytes: 256 * 2 ** 10,
};

/** The settings of the process; throws a sentence when one makes no sense. */
export function readSettings(environment) {
  const folder = resolve(environment.HANTAR_BRIDGE_FOLDER || ".hantar/bridge");
  return {
    folder,
    socket: resolve(environment.HANTAR_BRIDGE_SOCKET || join(folder, "bridge.sock")),
    listen: parseListen(environment.HANTAR_BRIDGE_LISTEN),
    hosts: (environment.HANTAR_BRIDGE_HOSTS || "").split(",").filter(Boolean),
    spool: resolve(environment.HANTAR_BRIDGE_SPOOL || join(folder, "spool")),
    browser: findBrowser(environment),
    maxDevices: wholeNumber(environment, "HANTAR_BRIDGE_MAX_DEVICES", 10, 1, 100),
    quietHour: wholeNumber(environment, "HANTAR_BRIDGE_QUIET_HOUR", 3, 0, 23),
    // Only tests set these two: what sends the browser elsewhere is never taken from the API.
    browserFlags: JSON.parse(environment.HANTAR_BRIDGE_TEST_FLAGS || "[]"),
    times: { ...TIMES, ...JSON.parse(environment.HANTAR_BRIDGE_TEST_TIMES || "{}") },
    limits: LIMITS,
  };
}

function parseListen(text) {
  if (!text) return null;
  const match = /^(.+):(\d{1,5})$/.exec(text);
  if (!match || Number(match[2]) > 65535) {
    throw new Error("HANTAR_BRIDGE_LISTEN is not host:port");
  }
  return { host: match[1], port: Number(match[2]) };
}

function wholeNumber(environment, name, otherwise, least, most) {
  const text = environment[name] || String(otherwise);
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new Error(`${name} is not a whole number from ${least} to ${most}`);
  }
  return value;
}

function findBrowser(environment) {
  if (environment.HANTAR_BRIDGE_BROWSER) return environment.HANTAR_BRIDGE_BROWSER;
  const folders = (environment.PATH || "").split(delimiter);
  const paths = BROWSERS.flatMap((name) => folders.map((path) => join(path, name)));
  const found = paths.find((path) => existsSync(path));
  if (found) return found;
  throw new Error(`no browser: apt-get install -y ${BROWSERS[0]}, or set HANTAR_BRIDGE_BROWSER`);
}
