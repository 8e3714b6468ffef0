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
    const { theirs, options, steps, close } = this.#written({
      offer: (names) => `subprotocols=${names}`,
      receive: "print(await ws.get_message())",
      send: (data) => `await ws.send_message(${data})`,
      bytes: (data) => `bytes.fromhex("${toHex(data)}")`,
      large: ({ text, size }) => (text ? `"x" * ${size}` : `bytes(${size})`),
    });
    if (this.#largest > 2 ** 20) options.push(`max_message_size=${4 * this.#largest}`);
    steps.push(theirs ? "await ws.get_message()  # the server closes here" : `await ws.aclose(${close ?? "None"})`);
    const body = theirs ? ["try:", ...steps.map((step) => `    ${step}`), "except ConnectionClosed as closed:", "    print(closed.reason)"] : steps;
    return `# pip install trio-websocket
import trio
from trio_websocket import ${theirs ? "ConnectionClosed, " : ""}open_websocket_url


async def main() -> None:
    async with open_websocket_url(${options.join(", ")}) as ws:
        ${body.join("\n        ")}


trio.run(main)
`;
  }

  /** In JavaScript, for browsers and Node.js. */
  javascript() {
    const { theirs, options, steps, close } = this.#written({
      offer: (names) => names,
      receive: "console.log(await message());",
      send: (data) => `socket.send(${data});`,
      bytes: (data) => `new Uint8Array([${data.join(", ")}])`,
      large: ({ text, size }) => (text ? `"x".repeat(${size})` : `new Uint8Array(${size})`),
    });
    steps.push(theirs ? "// the server closes here" : `socket.close(${close ?? ""});`);
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

  /** What both programs say, each in its own words. */
  #written({ offer, receive, send, bytes, large }) {
    const { url, subprotocols, ending } = this;
    const options = [quoted(url)];
    if (subprotocols.length) options.push(offer(`[${subprotocols.map(quoted).join(", ")}]`));
    const steps = this.#steps.map((step) => {
      if (step === null) return receive;
      return send(typeof step === "string" ? quoted(step) : step.size ? large(step) : bytes(step));
    });
    return {
      options,
      steps,
      // Ended by the other side: then the program waits to hear that, unless it is cut short.
      theirs: ending && !ending.asked && steps.length < MAX_STEPS,
      // Code 1005 is a Close without a code, which has no reason either.
      close: ending?.code === 1005 ? null : ending?.asked && ending.code !== 1006 ? `${ending.code}, ${quoted(ending.reason)}` : "1000",
    };
  }
}

/** A literal that means the same in Python and JavaScript, with what is invisible made visible. */
function quoted(text) {
  // Half a surrogate pair goes out as U+FFFD, and so must it from the program.
  return JSON.stringify(text.toWellFormed()).replace(/[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
