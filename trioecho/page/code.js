/** A conversation, remembered so that it can be held again, and written as a program that does. */

import { sizeOf, toHex } from "./binary.js";

/** Nobody reads a longer program. What is larger than this is sent as so many x, or zero bytes. */
const MAX_STEPS = 500;
const MAX_BYTES = 4096;

export class Conversation {
  #steps = [];
  #largest = 0;
  ending = null;

  constructor(url, subprotocols) {
    this.url = url;
    this.subprotocols = subprotocols;
  }

  sent(data) {
    const size = sizeOf(data);
    this.#add(size > MAX_BYTES ? { size, text: typeof data === "string" } : data);
  }

  received(data) {
    this.#largest = Math.max(this.#largest, data.length);
    this.#add(null);
  }

  #add(step) {
    if (this.#steps.length < MAX_STEPS) this.#steps.push(step);
  }

  /** In Python, with trio-websocket. */
  python() {
    const data = (step) => {
      if (typeof step === "string") return quoted(step);
      if (step.size) return step.text ? `"x" * ${step.size}` : `bytes(${step.size})`;
      return `bytes.fromhex("${toHex(step)}")`;
    };
    const options = [quoted(this.url)];
    if (this.subprotocols.length) options.push(`subprotocols=[${this.subprotocols.map(quoted).join(", ")}]`);
    if (this.#largest > 2 ** 20) options.push(`max_message_size=${4 * this.#largest}`);
    const steps = this.#steps.map((step) => (step === null ? "print(await ws.get_message())" : `await ws.send_message(${data(step)})`));
    const program = this.#theirs
      ? ["try:", ...[...steps, "await ws.get_message()  # the server closes here"].map((step) => `    ${step}`), "except ConnectionClosed as closed:", "    print(closed.reason)"]
      : [...steps, `await ws.aclose(${this.#close})`];
    return `# pip install trio-websocket
import trio
from trio_websocket import ${this.#theirs ? "ConnectionClosed, " : ""}open_websocket_url


async def main() -> None:
    async with open_websocket_url(${options.join(", ")}) as ws:
${program.map((step) => `        ${step}`).join("\n")}


trio.run(main)
`;
  }

  /** In JavaScript, for browsers and Node.js. */
  javascript() {
    const data = (step) => {
      if (typeof step === "string") return quoted(step);
      if (step.size) return step.text ? `"x".repeat(${step.size})` : `new Uint8Array(${step.size})`;
      return `new Uint8Array([${step.join(", ")}])`;
    };
    const options = [quoted(this.url)];
    if (this.subprotocols.length) options.push(`[${this.subprotocols.map(quoted).join(", ")}]`);
    const steps = this.#steps.map((step) => (step === null ? "console.log(await message());" : `socket.send(${data(step)});`));
    steps.push(this.#theirs ? "// the server closes here" : `socket.close(${this.#close});`);
    return `// For a browser's console, or a module in Node.js 22 and later
const socket = new WebSocket(${options.join(", ")});
socket.binaryType = "arraybuffer";
const event = (name) => new Promise((resolve) => { socket.addEventListener(name, resolve, { once: true }); });
const closed = event("close");
const inbox = [];
socket.addEventListener("message", ({ data }) => inbox.push(data));
async function message() {
  if (!inbox.length) await event("message");
  return inbox.shift();
}

await event("open");
${steps.join("\n")}
const { code, reason } = await closed;
console.log(code, reason);
`;
  }

  /** Whether the other side ended it: then the program waits to hear that. */
  get #theirs() {
    return this.ending && !this.ending.asked && this.#steps.length < MAX_STEPS;
  }

  get #close() {
    return this.ending?.asked && this.ending.code !== 1006 ? `${this.ending.code}, ${quoted(this.ending.reason)}` : "1000";
  }
}

/** A literal that means the same in Python and JavaScript, with what is invisible made visible. */
function quoted(text) {
  // Half a surrogate pair goes out as U+FFFD, and so must it from the program.
  return JSON.stringify(text.toWellFormed()).replace(/[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
