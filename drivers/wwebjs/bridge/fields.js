import fs from "node:fs";
import path from "node:path";

import { Problem } from "./problem.js";

const DEVICE = /^[A-Za-z0-9_-]{1,64}$/;
const PHONE = /^\+[1-9]\d{5,14}$/;
const VISIBLE = /^[\x21-\x7e]{1,128}$/;
const WA_ID = /^[A-Za-z0-9._-]{1,128}$/;
const MIME = /^[\w.+-]+\/[\w.+-]+$/;

const isText = (most) => (value) =>
  typeof value === "string" && value.length >= 1 && value.length <= most && value.isWellFormed();
const isNumber = (value) => Number.isSafeInteger(value) && value >= 0;
const matches = (pattern) => (value) => typeof value === "string" && pattern.test(value);
const optional = (check) => Object.assign((value) => check(value), { optional: true });

const MEDIA = {
  path: isText(1024),
  mime: matches(MIME),
  filename: optional(isText(255)),
  caption: optional(isText(4096)),
  as_document: optional((value) => typeof value === "boolean"),
};
/** What the body of each request may hold. */
export const BODIES = {
  put: { desired: (value) => ["up", "down"].includes(value), proxy: optional(isProxy) },
  pairing: { phone: matches(PHONE) },
  check: { phone: matches(PHONE) },
  ack: { upto: isNumber },
  send: {
    id: matches(VISIBLE),
    epoch: isNumber,
    to: matches(PHONE),
    text: optional(isText(65_536)),
    media: optional((value) => isObject(value) && problemIn(value, MEDIA) === null),
  },
};

/** The body as it may be; throws Problem with the name of the field that is not. */
export function checked(body, shape) {
  if (!isObject(body)) throw bad("The body is not an object.");
  const wrong = problemIn(body, shape);
  if (wrong) throw bad(wrong);
  if (shape === BODIES.send && (body.text === undefined) === (body.media === undefined)) {
    throw bad("Exactly one of text and media is needed.");
  }
  return body;
}

export function checkedDevice(id) {
  if (!DEVICE.test(id)) throw bad("The device id is malformed.");
  return id;
}

export function checkedWaId(id) {
  if (!WA_ID.test(id)) throw bad("The id of the message is malformed.");
  return id;
}

export function checkedPhone(phone) {
  if (!PHONE.test(phone ?? "")) throw bad("to is missing or malformed.");
  return phone;
}

/** A file of the spool as the engine takes it; throws Problem when there is none. */
export function readMedia(spool, media, mostBytes) {
  try {
    const file = fs.realpathSync(path.join(spool, media.path));
    if (!file.startsWith(fs.realpathSync(spool) + path.sep)) throw new Error("outside");
    if (fs.statSync(file).size > mostBytes) throw new Error("too large");
    const base64 = fs.readFileSync(file).toString("base64");
    return { filename: path.basename(file), ...media, base64 };
  } catch {
    throw new Problem(422, "bad_media", "The file is not in the spool folder, or too large.");
  }
}

export function bad(sentence) {
  return new Problem(400, "bad_request", sentence);
}

function problemIn(body, shape) {
  for (const name of Object.keys(body)) {
    if (!Object.hasOwn(shape, name)) return "The body has an unknown field.";
  }
  for (const [name, check] of Object.entries(shape)) {
    if (body[name] === undefined) {
      if (!check.optional) return `${name} is missing.`;
    } else if (!check(body[name])) return `${name} is malformed.`;
  }
  return null;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isProxy(value) {
  if (value === null) return true;
  if (typeof value !== "string" || !URL.canParse(value)) return false;
  const { protocol, hostname, port, pathname } = new URL(value);
  const known = ["http:", "https:", "socks5:"].includes(protocol);
  return known && hostname !== "" && port !== "" && ["", "/"].includes(pathname);
}
