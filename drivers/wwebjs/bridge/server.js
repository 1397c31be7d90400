import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import { dirname, join } from "node:path";

import { bad } from "./fields.js";
import { log, nameOf } from "./log.js";
import { Problem } from "./problem.js";

const LOCAL = ["localhost", "127.0.0.1", "[::1]"];
const MOST_CONNECTIONS = 64;

/** Answers requests on the unix socket, and on TCP when asked for. */
export class Server {
  #routes;
  #settings;
  #token;
  #listening = [];

  constructor(routes, settings) {
    this.#routes = routes.map(([method, path, handle]) => ({
      method,
      pattern: new RegExp(`^${path.replaceAll(":", "([^/]+)")}$`),
      handle,
    }));
    this.#settings = settings;
  }

  /** Listens; throws when another bridge does already. The address of TCP, or null. */
  async open() {
    const { socket, listen } = this.#settings;
    fs.mkdirSync(dirname(socket), { recursive: true, mode: 0o700 });
    await removeStale(socket);
    const mask = process.umask(0o177);
    try {
      await this.#listen({ path: socket }, false);
    } finally {
      process.umask(mask);
    }
    if (!listen) return null;
    this.#token = readToken(join(this.#settings.folder, "token"));
    return (await this.#listen(listen, true)).address();
  }

  async close() {
    await Promise.all(
      this.#listening.map((server) => {
        const closed = new Promise((resolve) => server.close(resolve));
        server.closeIdleConnections();
        setTimeout(() => server.closeAllConnections(), 1000).unref();
        return closed;
      }),
    );
  }

  #listen(where, byToken) {
    const server = http.createServer((request, response) => {
      this.#answer(request, response, byToken).catch((error) => this.#fail(response, error));
    });
    server.maxConnections = MOST_CONNECTIONS;
    this.#listening.push(server);
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(where, () => resolve(server));
    });
  }

  async #answer(request, response, byToken) {
    this.#admit(request, byToken);
    const url = new URL(request.url, "http://bridge");
    const [route, parts] = this.#find(request.method, url.pathname);
    const body = await this.#body(request);
    const given = { query: url.searchParams, body, response };
    const answer = await route.handle(parts, given);
    if (answer) write(response, ...answer);
  }

  #admit({ headers }, byToken) {
    if (headers.origin !== undefined) {
      throw new Problem(403, "forbidden", "Requests of web pages are refused.");
    }
    if (!byToken) return;
    const host = (headers.host ?? "").replace(/:\d+$/, "");
    if (![...LOCAL, ...this.#settings.hosts].includes(host)) {
      throw new Problem(403, "forbidden", "The Host is not one of this bridge.");
    }
    const given = (headers.authorization ?? "").replace(/^Bearer /, "");
    if (!timingSafeEqual(digest(given), digest(this.#token))) {
      throw new Problem(401, "unauthorized", "The token is missing or wrong.");
    }
  }

  #find(method, pathname) {
    const found = this.#routes
      .map((route) => [route, route.pattern.exec(pathname)])
      .filter(([, match]) => match);
    if (found.length === 0) throw new Problem(404, "not_found", "There is no such path.");
    const [route, match] = found.find(([one]) => one.method === method) ?? [];
    if (route) return [route, match.slice(1)];
    const allowed = { Allow: found.map(([one]) => one.method).join(", ") };
    throw new Problem(405, "method_not_allowed", "Not with this method.", {}, allowed);
  }

  async #body(request) {
    if (!["PUT", "POST"].includes(request.method)) return undefined;
    const chunks = [];
    let bytes = 0;
    for await (const chunk of request) {
      bytes += chunk.length;
      if (bytes > this.#settings.limits.bodyBytes) {
        throw new Problem(413, "payload_too_large", "The body is too large.");
      }
      chunks.push(chunk);
    }
    if (bytes === 0) return undefined;
    try {
      return JSON.parse(Buffer.concat(chunks).toString("utf8"));
    } catch {
      throw bad("The body is not JSON.");
    }
  }

  #fail(response, error) {
    if (!(error instanceof Problem)) log("request_failed", { error: nameOf(error) });
    if (response.headersSent) return void response.destroy();
    const problem =
      error instanceof Problem
        ? error
        : new Problem(503, "unavailable", "The bridge could not do this.");
    write(response, problem.status, problem.body, problem.headers);
  }
}

function write(response, status, body, headers = {}) {
  const content = body === null ? "" : JSON.stringify(body);
  const length = Buffer.byteLength(content);
  const type = { "Content-Type": "application/json", "Content-Length": length };
  response.writeHead(status, { ...(body === null ? {} : type), ...headers });
  response.end(content);
}

function digest(text) {
  return createHash("sha256").update(text).digest();
}

function readToken(path) {
  try {
    return fs.readFileSync(path, "utf8").trim();
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  const token = randomBytes(32).toString("base64url");
  fs.writeFileSync(path, token, { mode: 0o600 });
  return token;
}

/** A socket that a killed bridge left is removed, one that answers is not. */
async function removeStale(path) {
  if (!fs.existsSync(path)) return;
  const answers = await new Promise((resolve) => {
    const probe = net.connect(path, () => resolve(true));
    probe.on("connect", () => probe.destroy());
    probe.on("error", () => resolve(false));
  });
  if (answers) throw new Error("another bridge listens on the socket");
  fs.rmSync(path);
}
