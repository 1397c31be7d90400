import fs from "node:fs";
import { join } from "node:path";
import library from "whatsapp-web.js";

/**
 * Keeps the link where the bridge wants it. The library's own strategy removes the profile under
 * the running browser when the phone ends the link; here the bridge does, once it is closed.
 */
export class KeptProfile extends library.LocalAuth {
  #launched;

  constructor(folder, launched) {
    super({ dataPath: folder });
    this.#launched = launched;
  }

  async afterBrowserInitialized() {
    this.#launched(this.client.pupBrowser);
  }

  async logout() {}
}

/** Ends the browser that a bridge before this one left, and takes away its locks. */
export function clearProfile(folder) {
  const session = join(folder, "session");
  const pidFile = join(folder, "browser.pid");
  if (fs.existsSync(pidFile)) {
    const pid = Number(fs.readFileSync(pidFile, "utf8"));
    if (commandOf(pid).includes(session)) kill(pid);
    fs.rmSync(pidFile, { force: true });
  }
  for (const name of ["SingletonLock", "SingletonSocket", "SingletonCookie"]) {
    fs.rmSync(join(session, name), { force: true });
  }
}

export function notePid(folder, pid) {
  fs.writeFileSync(join(folder, "browser.pid"), String(pid), { mode: 0o600 });
}

/** Ends a browser and all of its processes, which are a group. */
export function kill(pid) {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}

/** The memory of a browser's processes, shared pages divided among those who share (PSS). */
export function bytesOf(pid) {
  let kilobytes = 0;
  for (const name of fs.readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = fs.readFileSync(`/proc/${name}/stat`, "utf8");
      const group = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2];
      if (Number(group) !== pid) continue;
      const rollup = fs.readFileSync(`/proc/${name}/smaps_rollup`, "utf8");
      kilobytes += Number(/^Pss: +(\d+)/m.exec(rollup)?.[1] ?? 0);
    } catch (error) {
      if (!["ENOENT", "ESRCH", "EACCES"].includes(error.code)) throw error; // it has ended
    }
  }
  return kilobytes * 1024;
}

function commandOf(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}
