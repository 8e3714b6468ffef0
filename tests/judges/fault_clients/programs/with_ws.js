// ws for Node.js. What it is asked and what it tells is described in jobs.py.
const readline = require("node:readline");
const WebSocket = require("ws");

const TIMEOUT = 3000, PIECE = 65536, SHOWN = 5;

function visit(job) {
  const told = { number: Number(job.get("number")), opened: false, status: null, subprotocol: "", heard: [], count: 0,
    last: "", code: null, reason: "", error: "", ended: true, accepted: 0, seconds: 0 };
  const began = performance.now();
  return new Promise((resolve) => {
    const ws = new WebSocket(job.get("url"), job.getAll("subprotocol"), { handshakeTimeout: TIMEOUT,
      closeTimeout: TIMEOUT, perMessageDeflate: job.get("compress") === "1", followRedirects: false });
    const done = () => {
      clearTimeout(timer);
      told.seconds = Math.round((performance.now() - began) / 10) / 100;
      resolve(told);
    };
    const timer = setTimeout(() => {
      told.ended = false;
      told.accepted = job.get("flood") > 0 ? Number(job.get("flood")) : 0;
      ws.removeAllListeners("close");
      ws.terminate();
      done();
    }, job.get("patience") * 1000);
    ws.on("open", () => {
      told.opened = true;
      told.subprotocol = ws.protocol;
      job.getAll("say").forEach((text) => ws.send(text));
      for (let sent = 0; sent < job.get("flood"); sent += PIECE) ws.send(Buffer.alloc(PIECE));
    });
    ws.on("message", (data, binary) => {
      const text = binary ? `${data.length} bytes` : data.toString();
      told.last = text.length > 200 ? `${text.length} characters` : text;
      told.count += 1;
      if (told.heard.length < SHOWN) told.heard.push(told.last);
      if (told.count === Number(job.get("close_after"))) ws.close(1000);
    });
    ws.on("unexpected-response", (request, response) => {
      told.status = response.statusCode;
      request.destroy();
      done();
    });
    ws.on("error", (error) => { told.error = String(error.message).slice(0, 300); });
    ws.on("close", (code, reason) => {
      told.code = code;
      told.reason = reason.toString();
      done();
    });
  });
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await visit(new URLSearchParams(line)))}\n`);
  }
  process.exit(0);
})();
