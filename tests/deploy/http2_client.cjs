// Asks a proxy for a path by HTTP/2, with what Node.js has for it; with a fourth argument, for an echo by a WebSocket
// (RFC 8441). Prints what was heard as JSON.

const fs = require("node:fs");
const http2 = require("node:http2");

const [port, authority, path, websocket] = process.argv.slice(2);
const session = http2.connect(`https://localhost:${port}`, { ca: fs.readFileSync(authority), settings: { enablePush: false } });
const told = {};
const pieces = [];

function tell() {
  told.body = Buffer.concat(pieces).toString("latin1");
  console.log(JSON.stringify(told));
  process.exit(0);
}

function fail(error) {
  told.error = String(error);
  tell();
}

session.on("error", fail);
session.once("remoteSettings", (settings) => {
  told.alpn = session.alpnProtocol;
  told.connect = settings.enableConnectProtocol;
  const asked = websocket
    ? { ":method": "CONNECT", ":protocol": "websocket", "sec-websocket-version": "13", origin: "https://localhost" }
    : {};
  const stream = session.request({ ":path": path, ":scheme": "https", ":authority": "localhost", ...asked }, { endStream: !websocket });
  stream.on("error", fail);
  stream.on("response", (headers) => {
    told.status = headers[":status"];
    // A masked text: "hello".
    if (websocket) stream.write(Buffer.concat([Buffer.from([0x81, 0x85, 0, 0, 0, 0]), Buffer.from("hello")]));
  });
  stream.on("data", (data) => {
    pieces.push(data);
    if (websocket && Buffer.concat(pieces).length >= 7) tell();
  });
  stream.on("end", tell);
});
