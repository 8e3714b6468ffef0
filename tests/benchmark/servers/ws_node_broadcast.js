// ws on Node, each message to all as its README shows it. Keeps the contract in contract.py.
"use strict";

const { WebSocket, WebSocketServer } = require("ws");

const MAX_MESSAGE_SIZE = 2 * 2 ** 20;

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  path: "/ws",
  perMessageDeflate: false,
  maxPayload: MAX_MESSAGE_SIZE,
});

server.on("connection", (ws) => {
  ws.on("message", (message, isBinary) => {
    server.clients.forEach((client) => {
      if (client.readyState === WebSocket.OPEN) client.send(message, { binary: isBinary });
    });
  });
});

server.on("listening", () => console.log(server.address().port));
