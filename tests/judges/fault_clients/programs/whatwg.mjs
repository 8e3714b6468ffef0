// One visit by whatever WebSocket is in scope: Node.js's own, or a browser's. What is asked and told is described in
// jobs.py. It cannot be told what timeouts it has, nor whether to offer compression.
const PIECE = 65536, SHOWN = 5, WITHOUT_CLOSE = 1000;

export function visit(line) {
  const job = new URLSearchParams(line);
  const told = { number: Number(job.get("number")), opened: false, status: null, subprotocol: "", heard: [], count: 0,
    last: "", code: null, reason: "", error: "", ended: true, accepted: 0, seconds: 0 };
  const began = performance.now();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      told.seconds = Math.round((performance.now() - began) / 10) / 100;
      resolve(told);
    };
    const timer = setTimeout(() => {
      told.ended = false;
      if (told.opened) told.accepted = Number(job.get("flood"));
      if (ws) {
        ws.onclose = ws.onmessage = ws.onerror = null;
        try { ws.close(); } catch (error) { told.error = String(error); }
      }
      done();
    }, job.get("patience") * 1000);
    let ws;
    try {
      ws = new WebSocket(job.get("url"), job.getAll("subprotocol"));
    } catch (error) {
      told.error = String(error);
      done();
      return;
    }
    ws.binaryType = "arraybuffer";
    ws.onopen = () => {
      told.opened = true;
      told.subprotocol = ws.protocol;
      job.getAll("say").forEach((text) => ws.send(text));
      for (let sent = 0; sent < job.get("flood"); sent += PIECE) ws.send(new Uint8Array(PIECE));
    };
    ws.onmessage = (event) => {
      const text = typeof event.data === "string" ? event.data : `${event.data.byteLength} bytes`;
      told.last = text.length > 200 ? `${text.length} characters` : text;
      told.count += 1;
      if (told.heard.length < SHOWN) told.heard.push(told.last);
      if (told.count === Number(job.get("close_after"))) ws.close(1000);
    };
    ws.onerror = (event) => {
      told.error = String(event.message || "error");
      // The close event has to follow (HTML, "fail the WebSocket connection"); who leaves it out is not waited for.
      setTimeout(() => {
        told.error = `${told.error} No close event.`;
        done();
      }, WITHOUT_CLOSE);
    };
    ws.onclose = (event) => {
      told.code = event.code;
      told.reason = event.reason;
      done();
    };
  });
}
