/** One WebSocket at a time, from Connect to its ending, as the page sees it. */

/** The listener hears state(name), the news that wire.js tells, and broken() if that could not be loaded. */
export class Connection {
  #worker = new Worker("wire.js", { type: "module" });
  state = "ready";

  constructor(listener) {
    this.listener = listener;
    this.#worker.onmessage = ({ data: [news, ...details] }) => {
      if (news === "opened") this.#enter("open");
      if (news === "ended") this.#enter("closed");
      listener[news](...details);
    };
    this.#worker.onerror = (event) => {
      // An ErrorEvent is a thread that runs, and tells the console.
      if (event instanceof ErrorEvent) return;
      this.#enter("closed");
      listener.broken();
    };
  }

  connect(url, subprotocols) {
    this.#enter("connecting");
    this.#worker.postMessage(["connect", url.href, subprotocols]);
  }

  send(data) {
    this.#worker.postMessage(["send", data]);
  }

  close(code, reason) {
    this.#enter("closing");
    this.#worker.postMessage(["close", code, reason]);
  }

  #enter(state) {
    this.state = state;
    this.listener.state(state);
  }
}
