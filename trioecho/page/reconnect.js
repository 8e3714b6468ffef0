/** Trying again, later each time and never in step, so that a returning server is not met by all its pages at once. */

const FIRST_MS = 500;
const LONGEST_MS = 30_000;

/** A connection that held this long was a success: the next failure starts from the shortest wait. */
const STEADY_MS = 10_000;

export class Reconnect {
  #failures = 0;
  #openedAt = Infinity;
  #timers = [];

  /** attempt() connects; tick(seconds) hears each second how long it still is. */
  constructor(attempt, tick) {
    this.attempt = attempt;
    this.tick = tick;
    addEventListener("online", () => this.waiting && this.now());
  }

  get waiting() {
    return this.#timers.length > 0;
  }

  opened() {
    this.#openedAt = performance.now();
  }

  later() {
    const now = performance.now();
    if (now - this.#openedAt > STEADY_MS) this.#failures = 0;
    this.#openedAt = Infinity;
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#failures++);
    const due = now + (longest * (1 + Math.random())) / 2;
    const tick = () => this.tick(Math.max(1, Math.ceil((due - performance.now()) / 1000)));
    this.#timers = [setTimeout(() => this.now(), due - now), setInterval(tick, 1000)];
    tick();
  }

  now() {
    this.stop();
    this.attempt();
  }

  stop() {
    this.#timers.forEach(clearTimeout);
    this.#timers = [];
  }

  /** The person pressed Connect: now, and all failures forgotten. */
  afresh() {
    this.#failures = 0;
    this.now();
  }
}
