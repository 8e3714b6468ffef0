/** A conversation, remembered so that it can be held again, and written as a program that does. */

import { sizeOf, toHex } from "./binary.js";

/** Nobody reads a longer program. What is larger than this is sent as so many x, or zero bytes. */
const MAX_STEPS = 500;
const MAX_BYTES = 4096;

/** What differs between the libraries for Python. */
const TRIO_WEBSOCKET = {
  packages: "trio-websocket",
  imports: (closed) => `from trio_websocket import ${closed ? "ConnectionClosed, " : ""}open_websocket_url`,
  open: "open_websocket_url",
  options: [],
  limit: "max_message_size",
  receive: "get_message",
  send: "send_message",
  reason: "reason",
};
const WEBSOCKETS = {
  packages: "websockets trio",
  imports: (closed) => `${closed ? "from websockets.exceptions import ConnectionClosed\n" : ""}from websockets.trio.client import connect`,
  open: "connect",
  options: ['compression="deflate"'],
  limit: "max_size",
  receive: "recv",
  send: "send",
  reason: "rcvd",
};

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

  /** In Python, with trio-websocket, which compresses nothing, or, `compressed`, with websockets. */
  python(compressed = false) {
    const library = compressed ? WEBSOCKETS : TRIO_WEBSOCKET;
    const { theirs, options, steps, close } = this.#written({
      offer: (names) => `subprotocols=${names}`,
      receive: `print(await ws.${library.receive}())`,
      send: (data) => `await ws.${library.send}(${data})`,
      bytes: (data) => `bytes.fromhex("${toHex(data)}")`,
      large: ({ text, size }) => (text ? `"x" * ${size}` : `bytes(${size})`),
    });
    options.push(...library.options);
    if (this.#largest > 2 ** 20) options.push(`${library.limit}=${4 * this.#largest}`);
    steps.push(theirs ? `await ws.${library.receive}()  # the server closes here` : `await ws.aclose(${close ?? "None"})`);
    const body = theirs ? ["try:", ...steps.map((step) => `    ${step}`), "except ConnectionClosed as closed:", `    print(closed.${library.reason})`] : steps;
    return `# pip install ${library.packages}
import trio
${library.imports(theirs)}


async def main() -> None:
    async with ${library.open}(${options.join(", ")}) as ws:
        ${body.join("\n        ")}


trio.run(main)
`;
  }

  /** In JavaScript: for browsers and Node.js, which offer compression unasked, or, not `compressed`, for ws on Node.js. */
  javascript(compressed = true) {
    const { theirs, options, steps, close } = this.#written({
      offer: (names) => names,
      receive: "console.log(await message());",
      send: (data) => `socket.send(${data});`,
      bytes: (data) => `new Uint8Array([${data.join(", ")}])`,
      large: ({ text, size }) => (text ? `"x".repeat(${size})` : `new Uint8Array(${size})`),
    });
    if (!compressed) options.push("{ perMessageDeflate: false }");
    steps.push(theirs ? "// the server closes here" : `socket.close(${close ?? ""});`);
    return `${compressed ? "// For a browser's console, or a module in Node.js 22 and later" : '// npm install ws, and run it as a module in Node.js\nimport WebSocket from "ws";\n'}
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
