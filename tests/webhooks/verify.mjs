// Verifies a webhook by the package standardwebhooks, with each secret. Reads JSON from
// stdin, and writes the verified messages.
import { text } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";

const { secrets, headers, body } = JSON.parse(await text(process.stdin));
const messages = secrets.map((secret) => new Webhook(secret).verify(body, headers));
process.stdout.write(JSON.stringify(messages));
