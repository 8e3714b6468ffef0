// ws on Node, with bufferutil (unmasking in C), found through NODE_PATH. Keeps the contract in contract.py.
"use strict";

require("bufferutil"); // ws would go without it in silence
const { WebSocketServer } = require("ws");

const MAX_MESSAGE_SIZE = 2 * 2 ** 20;

// Its threshold counts where there is no context takeover.
const deflate = {
  threshold: 0,
  serverMaxWindowBits: 12,
  clientMaxWindowBits: 12,
  zlibDeflateOptions: { level: 6, memLevel: 5 },
};

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  path: "/ws",
  perMessageDeflate: process.argv.includes("--deflate") && deflate,
  maxPayload: MAX_MESSAGE_SIZE,
});

server.on("connection", (ws) => {
  ws.on("message", (message, isBinary) => ws.send(message, { binary: isBinary }));
});

server.on("listening", () => console.log(server.address().port));
