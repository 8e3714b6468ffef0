/** Tries one fault after the other, and tells what differs from what was expected. */

import { count } from "./binary.js";

/** So much longer than a trial may its thread take to answer, which has to be loaded, and may have other visits to make. */
const GRACE_MS = 8000;

/** How long the server may take to have seen the end as well. */
const SEEN_SECONDS = 0.5;

/** The faults of the table at `path`, by the server's word. Throws where it has none. */
export async function faultsAt(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" }, cache: "no-store" });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return (await answer.json()).faults;
}

/** A run: its word, which keeps its cookies and keys apart from those of others, and where the faults are. */
export class Run {
  #number = 0;
  #word = Math.random().toString(36).slice(2, 10);
  #worker;

  constructor(base) {
    this.base = base;
    this.cancelled = false;
  }

  fill(text) {
    return text.replaceAll("{run}", this.#word);
  }

  url(path, login = "") {
    const host = `${location.protocol.replace("http", "ws")}//${login && `${login}@`}${location.host}`;
    return `${host}${this.base}${this.fill(path)}`;
  }

  /** What this browser sees of the trial, and, as `server`, what the server saw of it; undefined when cancelled. */
  async try(trial) {
    const id = `${this.#word}-${(this.#number += 1)}`;
    const named = `${trial.path}${trial.path.includes("?") ? "&" : "?"}id=${id}`;
    const seen = await this.#visit({
      url: this.url(named, trial.login),
      before: trial.before.map((path) => this.url(path)),
      trial,
    });
    const server = this.cancelled ? null : await this.#server(id);
    return this.cancelled ? undefined : { ...seen, server };
  }

  cancel() {
    this.cancelled = true;
    this.#worker?.dispatchEvent(new Event("cancel"));
  }

  async #visit(order) {
    const worker = new Worker("trial.js", { type: "module" });
    this.#worker = worker;
    let timer;
    try {
      return await new Promise((resolve) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = () => resolve({ failed: "trial.js failed, or could not be loaded" });
        worker.addEventListener("cancel", () => resolve(undefined));
        timer = setTimeout(resolve, order.trial.seconds * 1000 + GRACE_MS, { failed: "no answer from the browser" });
        worker.postMessage(order);
      });
    } finally {
      clearTimeout(timer);
      worker.terminate();
    }
  }

  async #server(id) {
    try {
      const answer = await fetch(`${this.base}/seen/${id}?wait=${SEEN_SECONDS}`, { cache: "no-store" });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }
}

/** The names of what is not as expected. */
export function differences(expect, seen, fill) {
  if (seen.failed) return [seen.failed];
  const like = ({ like: pattern }) => pattern === null || new RegExp(fill(pattern)).test(seen.last);
  const extensions = ({ extensions: wanted }) => wanted === null || (wanted ? seen.extensions.includes(wanted) : !seen.extensions);
  const heard = ({ heard: wanted }) => wanted === null || wanted.every((each, place) => seen.heard[place] === each);
  const found = [];
  if (!like(expect)) found.push("last message");
  if (!extensions(expect)) found.push("extensions");
  if (!heard(expect)) found.push("messages");
  for (const name of ["opened", "count", "protocol", "state", "code", "reason", "clean", "waiting"]) {
    if (expect[name] !== null && expect[name] !== seen[name]) found.push(name);
  }
  return found;
}

/** What was seen, in the words in which the table says what to expect. */
export function described(seen) {
  if (seen.failed) return seen.failed;
  const { heard, extensions } = seen;
  const parts = [seen.opened ? "opens" : "does not open"];
  if (seen.protocol) parts.push(`subprotocol ${seen.protocol}`);
  if (extensions) parts.push(extensions);
  parts.push(...heard.map((text) => `“${text}”`));
  if (seen.count > heard.length) parts.push(`${count(seen.count, "message")} in all, the last “${seen.last}”`);
  if (seen.waiting) parts.push("cannot send all");
  if (seen.state !== "closed") parts.push(`stays ${seen.state}`);
  if (seen.code) parts.push(seen.reason ? `${seen.code} “${seen.reason}”` : `${seen.code}`);
  if (seen.clean !== undefined) parts.push(seen.clean ? "clean" : "not clean");
  return parts.join(", ");
}

/** What the server saw, of which a page is told nothing else. */
export function serverSaw({ server }) {
  if (!server) return "";
  const { status, code_received: code, tcp } = server;
  const parts = [status === null ? "no answer" : `answer ${status}`];
  if (status === 101) parts.push(code === null ? "no Close" : `Close ${code === 1005 ? "without a code" : code}`);
  parts.push(...tcp.filter(({ by }) => by === "client").map(({ what }) => what));
  return `At the server: ${parts.join(", ")}.`;
}
