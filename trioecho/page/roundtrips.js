/** How long each echo took, as this page sees it: what the browser does in between counts. */

import { toHex } from "./binary.js";

/** Sends remembered while they wait for their echo, and times kept for the picture. */
const REMEMBERED = 1000;
const KEPT = 60;

/** Enough of a message to know its echo by: echoes come in order, so more would only cost memory. */
function likeness(data) {
  return typeof data === "string" ? `text ${data.length} ${data.slice(0, 1000)}` : `${data.length} ${toHex(data.subarray(0, 500))}`;
}

export class RoundTrips {
  #waiting = [];
  times = [];

  sent(data, at) {
    this.#waiting.push({ like: likeness(data), at });
    if (this.#waiting.length > REMEMBERED) this.#waiting.shift();
  }

  /** Milliseconds since it was sent; undefined for a message that echoes nothing. */
  received(data, at) {
    const like = likeness(data);
    const place = this.#waiting.findIndex((sent) => sent.like === like);
    if (place < 0) return undefined;
    const time = Math.max(0, at - this.#waiting[place].at);
    this.#waiting.splice(0, place + 1);
    this.times.push(time);
    if (this.times.length > KEPT) this.times.shift();
    return time;
  }

  get median() {
    return [...this.times].sort((a, b) => a - b)[this.times.length >> 1];
  }
}

export function milliseconds(time) {
  return `${time.toFixed(time < 100 ? 1 : 0)} ms`;
}
