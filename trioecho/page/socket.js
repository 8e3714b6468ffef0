/** One WebSocket at a time, from Connect to its ending. */

/**
 * The listener hears:
 * - state(name): "connecting", "open", "closing" or "closed"
 * - opened(subprotocol)
 * - received(data, at): a string or Uint8Array, and milliseconds on the clock of performance.now()
 * - ended({ opened, asked, code, reason }): once for each connect; was it ever open, and did this page ask for the end?
 */
export class Connection {
  #socket;
  #asked;
  state = "ready";

  constructor(listener) {
    this.listener = listener;
  }

  connect(url, subprotocols) {
    const socket = new WebSocket(url, subprotocols);
    let opened = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      opened = true;
      this.#enter("open");
      this.listener.opened(socket.protocol);
    };
    socket.onmessage = ({ data, timeStamp }) => {
      this.listener.received(typeof data === "string" ? data : new Uint8Array(data), timeStamp);
    };
    socket.onclose = ({ code, reason }) => {
      this.#enter("closed");
      this.listener.ended({ opened, asked: this.#asked, code, reason });
    };
    this.#socket = socket;
    this.#asked = false;
    this.#enter("connecting");
  }

  /** Sends, or returns false: a socket may have begun to close without an event that tells the page. */
  send(data) {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(data);
    return true;
  }

  close(code, reason) {
    this.#asked = true;
    this.#enter("closing");
    this.#socket.close(code, reason);
  }

  #enter(state) {
    this.state = state;
    this.listener.state(state);
  }
}
