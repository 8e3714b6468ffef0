/** How long each echo took. */

import { toHex } from "./binary.js";

/** Sends remembered while they wait for their echo. */
const REMEMBERED = 1000;

/** Enough of a message to know its echo by: echoes come in order, so more would only cost memory. */
function likeness(data) {
  return typeof data === "string" ? `text ${data.length} ${data.slice(0, 1000)}` : `${data.length} ${toHex(data.subarray(0, 500))}`;
}

export class RoundTrips {
  #waiting = [];

  sent(data, at) {
    this.#waiting.push({ like: likeness(data), at });
    if (this.#waiting.length > REMEMBERED) this.#waiting.shift();
  }

  /** Milliseconds since it was sent; undefined for a message that echoes nothing. */
  received(data, at) {
    const like = likeness(data);
    const place = this.#waiting.findIndex((sent) => sent.like === like);
    if (place < 0) return undefined;
    return Math.max(0, at - this.#waiting.splice(0, place + 1).at(-1).at);
  }
}
