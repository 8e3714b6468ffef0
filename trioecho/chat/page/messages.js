/** What is said: a list that only ever grows at its end and, when full, loses its oldest row. */

import { count } from "../binary.js";
import { Follower } from "../follow.js";
import { make } from "../log.js";

const MOST = 500;

/** What one person says within so long stands together. */
const TOGETHER_MS = 300_000;

export class Messages {
  #last = { id: undefined, at: 0 };
  #unseen = 0;

  /** log is the box that scrolls, newer the button that leads to its end. */
  constructor(log, newer) {
    this.log = log;
    this.rows = log.querySelector("ol");
    this.newer = newer;
    // The page itself stays where it is.
    this.follower = new Follower(log, document.querySelectorAll("header, #entrance, #told, #message, #countdown"), () => true);
    newer.addEventListener("click", () => {
      this.follow();
      log.focus();
    });
    log.addEventListener("scroll", () => this.#followed && this.#seen(), { passive: true });
  }

  /** The reader wants to see the newest. */
  follow() {
    this.follower.again();
    this.#seen();
  }

  said(id, name, text, mine) {
    const now = Date.now();
    const more = id === this.#last.id && now - this.#last.at < TOGETHER_MS;
    this.#last = { id, at: now };
    const said = make("p", "text", text);
    said.dir = "auto";
    const who = make("span", "who", name);
    who.title = name;
    const row = more ? [who, said, clock()] : [who, clock(), said];
    this.#append(["said", mine && "mine", more && "more"].filter(Boolean).join(" "), ...row);
    if (!this.#followed) this.#unseen += 1;
    this.#show();
  }

  /** Something happened that nobody has said. */
  event(kind, sentence) {
    this.#last = { id: undefined, at: 0 };
    this.#append(`event ${kind}`, make("span", "what", sentence), clock());
  }

  get #followed() {
    return this.log.classList.contains("follows");
  }

  #append(kind, ...content) {
    this.rows.append(make("li", kind, ...content));
    if (this.rows.childElementCount > MOST) this.rows.firstElementChild.remove();
    this.follower.changed();
  }

  #seen() {
    this.#unseen = 0;
    this.#show();
  }

  #show() {
    this.newer.hidden = !this.#unseen;
    this.newer.textContent = count(this.#unseen, "new message");
  }
}

function clock() {
  const now = new Date();
  const time = make("time", "", now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = now.toISOString();
  return time;
}
