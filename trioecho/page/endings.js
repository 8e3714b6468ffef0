/** What an ending means and what to do about it: two sentences for the reader. */

import { count } from "./binary.js";
import { endpoint } from "./fields.js";

const AGAIN = "Connect again when it is back, or let “Connection options” do that.";
const GARBLED = "Something in between may change the data: try without a proxy.";

/** The row of the log. The code 1005 is the browser's own: it stands for a Close that had none. */
export function summary({ opened, asked, code, reason }) {
  if (!opened) return asked ? "Connecting was stopped" : "Connection could not be opened";
  return `Connection closed. Code: ${code}${code === 1005 ? " (none was given)" : ""}. Reason: ${reason || "(none)"}`;
}

const BY_CODE = {
  1000: ["The server has finished the conversation.", "Nothing is wrong. Connect again for a new one."],
  1001: ["The server is stopping or restarting.", AGAIN],
  1002: ["The server says that this browser broke the protocol.", GARBLED],
  1005: ["The server closed without saying why.", "Connect again."],
  1007: ["The server found text that is not valid UTF-8.", GARBLED],
  1008: ["The server’s rules do not allow this.", "Its reason, below, or its own log may say which rule."],
  1011: ["The server’s handler failed.", "The server’s own log has the traceback."],
};

/**
 * ending: what Connection tells; target: the URL and subprotocols; server: what probe() found; lastSize: bytes last sent.
 * Returns null where there is nothing to explain.
 */
export function explain(ending, target, server, lastSize) {
  const { opened, asked, code, reason } = ending;
  if (asked && code !== 1006) return null;
  if (!opened) return asked ? null : neverOpened(target, server);
  if (code === 1006) return noGoodbye(asked, server);
  if (reason === "idle timeout") {
    return ["The server heard nothing from this page for too long (idle timeout).", "Connect again and send something now and then, or start the server with a longer --idle-timeout."];
  }
  if (reason === "keep-alive timeout") {
    return ["A ping stayed unanswered, so the server took this page for gone.", "This computer or its network may have been asleep. Connect again."];
  }
  if (code === 1009) {
    return [`The message was too big for the server: the last one sent had ${count(lastSize, "byte")}.`, "Connect again and send less, or start the server with a larger --max-message-size."];
  }
  return BY_CODE[code] ?? [`The server closed with the code ${code}.`, "What it means is for the application to say."];
}

function neverOpened({ url, subprotocols }, server) {
  const origins = `allowed origins leave out this page: start it with --allowed-origin ${location.origin}`;
  if (server === "alive" && subprotocols.length) {
    return ["The server is running, but most likely it and this browser agreed on no subprotocol.", `If the server knows none of those offered, it accepts without one, and the browser then gives up. Offer another or none, or start the server with --subprotocol ${subprotocols[0]}. Otherwise its ${origins}, or it is full (max_connections).`];
  }
  if (server === "alive") return ["The server is running, but refused this connection.", `Most likely its ${origins}. Or it is full (max_connections).`];
  if (server === "no such path") return [`The server is running, but has no WebSocket at ${url.pathname}.`, `At this server, the path is ${endpoint}.`];
  if (!navigator.onLine) return ["This computer is offline.", "Connect it to its network, then try again."];
  if (server === "silent") return [`The server at ${url.host} does not answer: it is probably stopped.`, "Start it (python -m trioecho), then connect again."];
  const known = subprotocols.length ? " knows one of the offered subprotocols and" : "";
  return [`No WebSocket opened at ${url}, and browsers do not say why.`, `Check that a server runs there, that the path is right, and that it${known} allows the origin ${location.origin}.`];
}

function noGoodbye(asked, server) {
  if (asked) return ["The server did not answer the goodbye.", "The connection is closed all the same."];
  if (!navigator.onLine) return ["This computer has lost its network.", AGAIN];
  if (server === "silent") return ["The server is gone without a goodbye: it was killed or cannot be reached.", "Start it again (python -m trioecho), then connect."];
  return ["The connection broke without a goodbye.", "The server was killed, or the network dropped out. Connect again."];
}
