/** The thread that holds the WebSocket and the stopwatch. It draws nothing, so no frame of the page delays an echo. */

import { RoundTrips } from "./roundtrips.js";

let socket;
let asked;
let trips;

const orders = {
  connect(url, subprotocols) {
    let opened = false;
    asked = false;
    trips = new RoundTrips();
    socket = new WebSocket(url, subprotocols);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      opened = true;
      tell("opened", socket.protocol, socket.extensions);
    };
    socket.onmessage = ({ data, timeStamp }) => {
      const message = typeof data === "string" ? data : new Uint8Array(data);
      tell("received", message, trips.received(message, timeStamp));
    };
    socket.onclose = ({ code, reason }) => tell("ended", { opened, asked, code, reason });
  },

  send(data) {
    // A socket may have begun to close without an event that tells.
    if (socket.readyState !== WebSocket.OPEN) return tell("unsent");
    trips.sent(data, performance.now());
    socket.send(data);
    return tell("sent", data);
  },

  close(code, reason) {
    asked = true;
    socket.close(code, reason);
  },
};

/**
 * - opened(subprotocol, extensions)
 * - sent(data); unsent() for a message that came too late
 * - received(data, time): as an echo, the milliseconds since it was sent
 * - ended({ opened, asked, code, reason }): was it ever open, and did this page ask for the end?
 */
function tell(...news) {
  postMessage(news);
}

onmessage = ({ data: [order, ...details] }) => orders[order](...details);
