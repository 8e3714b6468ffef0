/** One visit to a fault, in a thread of its own: whatever comes, the page goes on, and with the thread the socket ends. */

const STATES = ["connecting", "open", "closing", "closed"];

/** How many messages are told, and how much of each. */
const MOST_MESSAGES = 3;
const MOST_CHARACTERS = 60;

const PIECE = 65_536;

/** So long may a visit take of which nothing is told. */
const BEFORE_MS = 2000;

const told = (data) => (typeof data === "string" ? data : `${data.size.toLocaleString("en")} bytes`);

/** Resolves with what was seen when the socket has closed, or the patience is over. */
function visit(url, trial, patience) {
  const seen = { opened: false, protocol: "", extensions: "", heard: [], count: 0, last: "" };
  const begun = performance.now();
  const socket = new WebSocket(url, trial.offer ?? []);
  const close = () => socket.close(1000);
  return new Promise((resolve) => {
    const end = (closed) => {
      const last = seen.last.slice(0, MOST_CHARACTERS);
      const seconds = (performance.now() - begun) / 1000;
      resolve({ ...seen, ...closed, last, seconds, state: STATES[socket.readyState], waiting: socket.bufferedAmount > 0 });
    };
    setTimeout(end, patience);
    socket.onopen = () => {
      Object.assign(seen, { opened: true, protocol: socket.protocol, extensions: socket.extensions });
      for (const text of trial.say ?? []) socket.send(text);
      for (let sent = 0; sent < (trial.flood ?? 0); sent += PIECE) socket.send(new Uint8Array(PIECE));
      if (trial.close_at) setTimeout(close, trial.close_at * 1000);
    };
    socket.onmessage = ({ data }) => {
      seen.last = told(data);
      seen.count += 1;
      if (seen.count <= MOST_MESSAGES) seen.heard.push(seen.last.slice(0, MOST_CHARACTERS));
      if (seen.count === trial.close_after) close();
    };
    socket.onclose = ({ code, reason, wasClean }) => end({ code, reason, clean: wasClean });
  });
}

onmessage = async ({ data: { url, before, trial } }) => {
  for (const each of before) await visit(each, { close_after: 1 }, BEFORE_MS);
  postMessage(await visit(url, trial, trial.seconds * 1000));
};
