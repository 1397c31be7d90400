// Takes Hantar's webhooks: checks each with the official library and says what it took, once.
//
//   npm ci && WEBHOOK_SECRET=whsec_… PORT=8081 node receiver.js
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const LONGEST_BYTES = 1024 * 1024;
const webhook = new Webhook(process.env.WEBHOOK_SECRET);
// A real service keeps these with what it does about each event, as one may come twice.
const taken = new Set();

async function take(request) {
  let body = "";
  for await (const part of request.setEncoding("utf8")) {
    body += part;
    if (body.length > LONGEST_BYTES) return 413;
  }
  let event;
  try {
    event = webhook.verify(body, request.headers);
  } catch (error) {
    console.error(`refused: ${error.message}`);
    return 401;
  }
  const id = request.headers["webhook-id"];
  if (!taken.has(id)) {
    taken.add(id);
    console.log(JSON.stringify({ id, ...event }));
  }
  return 204;
}

const server = createServer(async (request, response) => {
  const status = request.method === "POST" ? await take(request).catch(() => 400) : 405;
  response.writeHead(status).end();
});
server.listen(Number(process.env.PORT ?? 8081), "127.0.0.1", () => {
  console.error(`listening on ${server.address().port}`);
});
