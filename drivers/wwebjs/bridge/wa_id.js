import { createHash } from "node:crypto";

/**
 * The id under which a message goes out, however often it is sent: 22 characters of the shape that
 * WhatsApp's page makes itself, as ids of another shape are said to misbehave.
 */
export function waIdOf(device, id) {
  const digest = createHash("sha256").update(`${device}/${id}`).digest("hex");
  return `3EB0${digest.slice(0, 18).toUpperCase()}`;
}
