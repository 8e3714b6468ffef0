/** A countdown that the server streams, until it is over or cancelled here. */

import { checked, forgive } from "./fields.js";
import { Talk } from "./talk.js";

const LONGEST = 60;

const $ = (id) => document.getElementById(id);

export class Countdown {
  #stream = undefined;
  #left = 0;
  #allowed = false;

  /** hub() gives the connection that is open. */
  constructor(hub) {
    this.hub = hub;
    $("countdown").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#allowed && !this.#stream) this.#start();
    });
    $("countdown").addEventListener("input", forgive);
    $("cancel").addEventListener("click", () => {
      this.#stream.dispose();
      this.#end(`Cancelled at ${this.#left}.`);
    });
  }

  /** Whether there is a connection; what streamed over the one before is over with it. */
  allowed(allowed) {
    this.#allowed = allowed;
    if (!allowed && this.#stream) this.#end(this.#lost);
    this.#show();
  }

  get #lost() {
    return `Lost at ${this.#left}, with the connection.`;
  }

  #start() {
    forgive();
    const seconds = checked("seconds", `Write a number of seconds from 1 to ${LONGEST}.`, (text) => /^\d+$/.test(text) && text >= 1 && text <= LONGEST);
    if (seconds === undefined) return;
    const total = Number(seconds);
    $("progress").max = total;
    $("counted").textContent = `The server counts down from ${total}.`;
    const stream = this.hub().stream("countdown", total).subscribe({
      next: (left) => {
        if (this.#stream && stream !== this.#stream) return;
        this.#left = left;
        $("left").textContent = left;
        $("progress").value = total - left;
      },
      complete: () => stream === this.#stream && this.#end(this.#left ? `The server has ended it at ${this.#left}.` : "The countdown is over."),
      error: (error) => stream === this.#stream && this.#end(Talk.refusal(error) ?? this.#lost),
    });
    this.#stream = stream;
    this.#show();
    $("cancel").focus();
  }

  #end(sentence) {
    const focused = document.activeElement === $("cancel");
    this.#stream = undefined;
    $("counted").textContent = sentence;
    this.#show();
    if (focused) $("start").focus();
  }

  #show() {
    $("start").disabled = !this.#allowed || Boolean(this.#stream);
    $("cancel").disabled = !this.#stream;
  }
}
