// Publish one message and hear what becomes of it; written from asyncapi.yaml alone.
//
//     npm install amqplib
//     AMQP_URL=amqp://shop:…@localhost:5672/%2F node send.mjs ACCOUNT PHONE TEXT
import { randomUUID } from "node:crypto";
import amqp from "amqplib";

const [account, phone, body] = process.argv.slice(2);
const user = decodeURIComponent(new URL(process.env.AMQP_URL).username);
const messageId = `example-${randomUUID()}`;
const connection = await amqp.connect(process.env.AMQP_URL);
const channel = await connection.createConfirmChannel();

let mine = new Set();
await channel.consume(`hantar.events.${user}`, async (delivery) => {
  const event = JSON.parse(delivery.content.toString());
  if (delivery.properties.correlationId === messageId) {
    console.log(delivery.fields.routingKey, JSON.stringify(event));
    mine = new Set((event.queued ?? []).map((item) => item.id));
  }
  const told = (event.events ?? []).filter((each) => mine.has(each.message_id));
  for (const each of told) console.log(each.seq, each.status, each.error ?? "");
  channel.ack(delivery);
  const ended = ["delivered", "read", "failed", "skipped"];
  if (delivery.fields.routingKey === "command.rejected" || told.some((each) => ended.includes(each.status))) {
    await channel.close();
    await connection.close();
  }
});

channel.publish(
  "hantar.commands",
  `message.send.${user}`,
  Buffer.from(JSON.stringify({ account: Number(account), phone, body })),
  { messageId, userId: user, type: "hantar.message.send.v1", contentType: "application/json", persistent: true, mandatory: true },
);
await channel.waitForConfirms(); // what the broker has not confirmed is published again
