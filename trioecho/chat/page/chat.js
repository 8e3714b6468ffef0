/** The chat: what its fields and buttons do, and what is shown when. */

import { count } from "../binary.js";
import { make } from "../log.js";
import { Reconnect } from "../reconnect.js";
import { Countdown } from "./countdown.js";
import { checked, forgive } from "./fields.js";
import { Messages } from "./messages.js";
import { remember, remembered } from "./remembering.js";
import { Rooms } from "./rooms.js";
import { Talk, TRANSPORTS } from "./talk.js";

const STATES = { ready: "Ready to join…", connecting: "Connecting…", open: "Connected", again: "Reconnecting…", closing: "Leaving…", closed: "Left" };

const $ = (id) => document.getElementById(id);
const messages = new Messages($("log"), $("newer"));
const rooms = new Rooms($("rooms"), $("people"), $("people-title"));
const countdown = new Countdown(() => talk.hub);

/** Where Join was pressed for; whether the connection was open before; messages that came while nobody looked. */
let wanted;
let lost = false;
let missed = 0;

const talk = new Talk({
  state(state) {
    $("state").textContent = STATES[state];
    $("state").dataset.state = state;
    $("join").disabled = ["connecting", "closing"].includes(state);
    $("leave").disabled = !["open", "connecting", "again"].includes(state);
    $("text").disabled = $("send").disabled = state !== "open";
    countdown.allowed(state === "open");
    $("transport-used").hidden = state !== "open";
    if (state !== "open") rooms.nobody();
    if (state === "open") rescueFocus("text");
    if (["closed", "again"].includes(state)) rescueFocus("join");
    title();
  },

  entered(entered) {
    reconnect.opened();
    lost = false;
    notify();
    showRetry("");
    placed(entered);
    messages.follow();
    messages.event("opened", `You are in ${entered.room}, over ${TRANSPORTS[entered.transport]}.`);
  },

  message(id, name, text) {
    messages.said(id, name, text, id === rooms.me);
    if (document.hidden) missed += 1;
    title();
  },

  people(room, people, number) {
    for (const sentence of rooms.people(room, people, number)) messages.event("moved", sentence);
  },

  rooms(listed) {
    rooms.list(listed);
  },

  /** The server does not let this person in, and says why. */
  refused(sentence) {
    notify(["You are not in.", sentence]);
  },

  /** It ended, or did not begin, without anybody having asked for that. */
  failed(opened) {
    if (opened) messages.event("broken", "The connection is lost.");
    lost ||= opened;
    const { transport } = wanted;
    if (lost) notify(["The connection is lost.", "What is said until it is back cannot be shown."]);
    else if (transport) notify([`There is no connection over ${TRANSPORTS[transport]}.`, "Perhaps the server is not there, or something on the way does not let it through: “Automatic” tries the others."]);
    else notify(["There is no connection.", "Perhaps the server is not there."]);
    reconnect.later();
  },

  left() {
    messages.event("closed", "You have left.");
  },
});

const reconnect = new Reconnect(
  () => talk.enter(wanted, lost),
  (seconds) => showRetry(`Trying again in ${count(seconds, "second")}.`),
);

/** The server says where this person is, and who else. */
function placed(entered) {
  rooms.entered(entered);
  $("log-title").textContent = entered.room;
  $("name").value = entered.name;
  $("room").value = entered.room;
  $("transport-used").textContent = `Over ${TRANSPORTS[entered.transport]}`;
  remember("name", entered.name);
  history.replaceState(null, "", `#${encodeURIComponent(entered.room)}`);
  title();
}

function title() {
  const unread = missed ? `(${missed}) ` : "";
  const where = talk.state === "open" ? rooms.room : STATES[talk.state];
  document.title = `${unread}${where} · Chat`;
}

/** A control that is disabled or hidden loses the focus to nowhere, and with it a person at the keyboard. */
function rescueFocus(id) {
  const at = document.activeElement;
  if (at === document.body || at.disabled || !at.checkVisibility() || (id === "text" && at.closest("#entrance"))) $(id).focus();
}

/** Says what happened and what to do, until something else does. */
function notify(words) {
  $("notice").replaceChildren();
  $("notice").className = words ? "notice" : "";
  if (words) $("notice").append(make("strong", "", words[0]), ` ${words[1]}`);
}

function showRetry(text) {
  $("retry").firstChild.textContent = text;
  $("retry").hidden = !text;
}

async function join(room) {
  forgive();
  const name = checked("name", "Say what others shall call you.");
  if (name === undefined) return;
  wanted = { name, room, transport: $("transport").value };
  notify();
  if (talk.state !== "open") {
    showRetry("");
    reconnect.afresh();
    return;
  }
  try {
    const moved = await talk.hub.invoke("enter", wanted.name, wanted.room);
    const elsewhere = moved.room !== rooms.room;
    placed(moved);
    if (elsewhere) messages.event("opened", `You are in ${moved.room} now.`);
    rescueFocus("text");
  } catch (error) {
    notify(["You are still where you were.", Talk.sentence(error)]);
  }
}

/** The room that the page's own address names; "" where it names none, or was cut off. */
function roomOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

async function say() {
  const text = $("text").value;
  if (!text.trim() || talk.state !== "open") return;
  forgive();
  $("text").value = "";
  try {
    await talk.hub.invoke("say", text);
    notify();
  } catch (error) {
    // Unless the next one is being written, it is there to be sent again.
    $("text").value ||= text;
    notify(["Perhaps not everybody has got this.", Talk.sentence(error)]);
  }
}

$("entrance").addEventListener("submit", (event) => {
  event.preventDefault();
  forgive();
  const room = checked("room", "Name a room; if there is none of this name, you are the first in it.");
  if (room !== undefined) join(room);
});

$("entrance").addEventListener("input", forgive);

$("transport").addEventListener("change", () => {
  remember("transport", $("transport").value);
  if (!wanted || ["ready", "closed"].includes(talk.state)) return;
  wanted.transport = $("transport").value;
  showRetry("");
  reconnect.afresh();
});

$("rooms").addEventListener("click", ({ target }) => {
  const room = target.closest("button")?.value;
  if (room) join(room);
});

$("leave").addEventListener("click", () => {
  reconnect.stop();
  showRetry("");
  notify();
  talk.leave();
});
$("stop").addEventListener("click", () => $("leave").click());
$("now").addEventListener("click", () => {
  showRetry("");
  reconnect.now();
});

$("message").addEventListener("submit", (event) => {
  event.preventDefault();
  say();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  say();
});
// A mouse leaves the focus where the next message is typed.
$("send").addEventListener("mousedown", (event) => event.preventDefault());

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  missed = 0;
  title();
  // Timers of a page that nobody sees stand still.
  if (reconnect.waiting) $("now").click();
});
addEventListener("offline", () => {
  if (talk.state === "open") notify(["This computer has lost its network.", "Unless the server runs here, the connection is probably dead."]);
});
addEventListener("online", () => talk.state === "open" && notify());

$("name").value = remembered("name") ?? "";
$("room").value = roomOfAddress() || "Lobby";
$("transport").value = remembered("transport") ?? "";
if (!$("transport").value) $("transport").value = "";
if (globalThis.signalR) $("join").disabled = false;
else notify(["Part of this page could not be loaded.", "Reload it when its server is there."]);
