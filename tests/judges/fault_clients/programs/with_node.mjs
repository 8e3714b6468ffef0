// Node.js's own WebSocket, of undici; before Node.js 22 it is there with --experimental-websocket.
import readline from "node:readline";
import { visit } from "./whatwg.mjs";

for await (const line of readline.createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await visit(line))}\n`);
}
process.exit(0);
