/** One connection to the hub at a time, from Join to its ending, as the page sees it. */

const { signalR } = globalThis;

/** The transports by the names that SignalR gives them. */
export const TRANSPORTS = { WebSockets: "WebSockets", ServerSentEvents: "Server-Sent Events", LongPolling: "long polling" };

/** Relative, for the page may stand below another path. */
const HUB = new URL("hub", document.baseURI).href;

export class Talk {
  state = "ready";

  /** The connection that counts: what others still say is late. */
  hub = undefined;

  /** The listener hears state(name), entered(who, where), failed(opened), refused(sentence), left(), and the calls of the hub. */
  constructor(listener) {
    this.listener = listener;
  }

  /** Leaves where it is, connects, and enters a room; again tells whether it was there already. */
  async enter({ name, room, transport }, again) {
    const before = this.hub;
    const hub = this.#connection(transport);
    this.hub = hub;
    this.#become(again ? "again" : "connecting");
    try {
      await before?.stop();
      await hub.start();
      const entered = await hub.invoke("enter", name, room);
      if (hub !== this.hub) return;
      this.#become("open");
      this.listener.entered(entered);
    } catch (error) {
      if (hub !== this.hub) return;
      const refused = Talk.refusal(error);
      if (refused) {
        this.#end(hub);
        this.#become("closed");
        this.listener.refused(refused);
      } else {
        this.#fail(hub, false);
      }
    }
  }

  /** Ends it, or the attempt. */
  async leave() {
    const { hub, state } = this;
    this.hub = undefined;
    if (state === "open") {
      this.#become("closing");
      await hub.stop();
      // Somebody may have pressed Join meanwhile.
      if (this.hub) return;
      this.listener.left();
    } else {
      this.#end(hub);
    }
    this.#become("closed");
  }

  /** What to say of an error: the hub's own sentence, if it has given one. */
  static sentence(error) {
    return Talk.refusal(error) ?? "The connection was lost, or something has failed on the server.";
  }

  /** The hub's own sentence; undefined, if the error is another. */
  static refusal(error) {
    return /HubException: (.*)/s.exec(error.message)?.[1];
  }

  #connection(transport) {
    const options = transport ? { transport: signalR.HttpTransportType[transport] } : {};
    // A WebSocket alone needs no negotiation, and so any of several servers will do.
    if (transport === "WebSockets") options.skipNegotiation = true;
    const hub = new signalR.HubConnectionBuilder().withUrl(HUB, options).configureLogging(signalR.LogLevel.None).build();
    for (const name of ["message", "people", "rooms"]) {
      hub.on(name, (...told) => hub === this.hub && this.listener[name](...told));
    }
    hub.onclose(() => hub === this.hub && this.state === "open" && this.#fail(hub, true));
    return hub;
  }

  #fail(hub, opened) {
    this.#end(hub);
    this.#become("again");
    this.listener.failed(opened);
  }

  /** Lets go of a connection that is over, or will be: nobody waits for that. */
  #end(hub) {
    this.hub = undefined;
    hub?.stop().catch(() => {});
  }

  #become(state) {
    this.state = state;
    this.listener.state(state);
  }
}
