/** The page: what its fields and buttons do, and what is shown when. */

import { count, milliseconds, parseHex, sizeOf } from "./binary.js";
import { Conversation } from "./code.js";
import { explain, summary } from "./endings.js";
import { ownUrl, parseCloseCode, parseCloseReason, parseSubprotocols, parseUrl } from "./fields.js";
import { Follower } from "./follow.js";
import { Log, make } from "./log.js";
import { probe } from "./probe.js";
import { Reconnect } from "./reconnect.js";
import { Connection } from "./socket.js";
import { sparkline } from "./sparkline.js";

const STATES = { connecting: "Connecting…", open: "Open", closing: "Closing…", closed: "Closed" };

/** How long Connecting… may last before the page offers to stop it. */
const PATIENCE_MS = 2000;

const $ = (id) => document.getElementById(id);
const dialog = document.querySelector("dialog");
const program = document.querySelector("pre");
// A field that is typed in must not be carried away. The desk needs no care: it stays in sight.
const follower = new Follower($("log"), document.querySelectorAll("header, #connection, #desk, .bar"), () => document.activeElement.closest("#connection"));
const log = new Log(document.querySelector("table"), () => follower.changed());

/** What Connect was pressed for; then, of the latest connection, its conversation, round trips and last message's bytes. */
let target;
let talk;
let times;
let lastSize;
let slow;

const connection = new Connection({
  state(state) {
    $("state").textContent = STATES[state];
    $("state").dataset.state = state;
    document.title = `${STATES[state]} · WebSocket`;
    $("connect").disabled = state !== "closed";
    for (const id of ["text", "send", "close", "send-hex", "send-file"]) $(id).disabled = state !== "open";
    showRetry("");
    clearTimeout(slow);
    if (state === "connecting") slow = setTimeout(showRetry, PATIENCE_MS, "Still connecting.");
    if (state === "open") rescueFocus("text");
    if (state === "closed") rescueFocus("connect");
  },

  broken() {
    $("connect").disabled = true;
    notify(["Part of this page could not be loaded.", "Reload it when its server is there."]);
  },

  opened(subprotocol, extensions) {
    const compressed = extensions.includes("permessage-deflate");
    talk = new Conversation(target.url.href, target.subprotocols);
    times = [];
    lastSize = 0;
    reconnect.opened();
    notify();
    $("trips").replaceChildren();
    $("subprotocol").textContent = `Subprotocol: ${subprotocol}`;
    $("subprotocol").hidden = !subprotocol;
    // The parameters are many and for the curious: they stand in the log.
    $("extensions").textContent = `Extension: ${extensions.replace(/;[^,]*/g, "")}`;
    $("extensions").hidden = !extensions;
    // A server that declines compression gets none, whatever the program offers: there is nothing to switch.
    $("compressed").checked = compressed;
    $("compressed").parentElement.hidden = !compressed;
    $("code").disabled = false;
    log.event("opened", extensions ? `Connection opened with ${extensions}` : "Connection opened");
  },

  sent(data) {
    lastSize = sizeOf(data);
    talk.sent(data);
    log.message("Client", "Server", data);
  },

  unsent() {
    notify(["Not sent: the connection is no longer open.", "Connect again, then send."]);
  },

  received(data, time) {
    talk.received(data);
    log.message("Server", "Client", data, time);
    if (time !== undefined) showTrip(time);
  },

  async ended(ending) {
    const { opened, asked, code } = ending;
    if (opened) talk.ending = ending;
    $("subprotocol").hidden = true;
    $("extensions").hidden = true;
    log.event(code === 1006 && (opened || !asked) ? "broken" : "closed", summary(ending));
    if ($("reconnect").checked && !asked && code !== 1000) reconnect.later();
    const words = explain(ending, target, code === 1006 && (await probe(target.url)), lastSize);
    if (connection.state === "closed") notify(words, code === 1000);
  },
});

const reconnect = new Reconnect(
  () => connection.connect(target.url, target.subprotocols),
  (seconds) => showRetry(`Trying again in ${count(seconds, "second")}.`),
);

/** A control that is disabled or hidden loses the focus to nowhere, and with it a person at the keyboard. */
function rescueFocus(id) {
  const at = document.activeElement;
  if (at === document.body || at === $("url") || at.disabled || !at.checkVisibility()) $(id).focus();
}

/** Says what happened and what to do, until the next connection. */
function notify(words, calm) {
  $("notice").replaceChildren();
  $("notice").className = "";
  if (!words) return;
  $("notice").append(make("strong", "", words[0]), ` ${words[1]}`);
  $("notice").className = calm ? "notice calm" : "notice";
}

function showRetry(text) {
  $("retry").firstChild.textContent = text;
  $("retry").hidden = !text;
}

function showTrip(time) {
  times = [...times, time].slice(-60);
  const median = times.toSorted((a, b) => a - b)[times.length >> 1];
  const label = `The last ${count(times.length, "round trip")}, at most ${milliseconds(Math.max(...times))}`;
  $("trips").replaceChildren(`Round trip ${milliseconds(time)}, median ${milliseconds(median)}`, sparkline(times, label));
}

/** The value of a field; or undefined, and the field says why. */
function checked(id, parse) {
  forgive();
  try {
    return parse($(id).value);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    complain(id, error.message);
    const panel = $(id).closest("details");
    if (panel) panel.open = true;
    $(id).focus();
    return undefined;
  }
}

/** An error belongs to what was just tried, and goes when something else is. */
function forgive() {
  for (const { id } of document.querySelectorAll("[aria-invalid]")) complain(id, "");
}

function complain(id, sentence) {
  const field = $(id);
  // A field without an error keeps the description that it has.
  if (!sentence && !field.ariaInvalid) return;
  $(`${id}-error`)?.remove();
  field.ariaInvalid = sentence ? "true" : null;
  field.removeAttribute("aria-describedby");
  if (!sentence) return;
  const error = make("p", "error", sentence);
  error.id = `${id}-error`;
  error.role = "alert";
  field.parentElement.append(error);
  field.setAttribute("aria-describedby", error.id);
}

function sendText() {
  send($("text").value);
  select("text");
}

function sendHex() {
  const bytes = checked("hex", parseHex);
  if (!bytes) return;
  send(bytes);
  select("hex");
}

/** Typing then replaces what was sent. The method select() would take the focus from who pressed Send. */
function select(id) {
  $(id).setSelectionRange(0, -1);
}

function send(data) {
  forgive();
  connection.send(data);
}

async function copy(what, text) {
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  const said = make("span", "", copied ? `${what} copied` : "Copying is not allowed here");
  // A modal dialog covers all that is not inside it. Each has room for it that is otherwise empty.
  if (dialog.open) $("copy-code").before($("said"));
  else $("log-title").after($("said"));
  $("said").replaceChildren(said);
  setTimeout(() => said.remove(), 3000);
}

function showCode() {
  // Without a switch the programs are those that are the simplest.
  const compressed = $("compressed").parentElement.hidden ? undefined : $("compressed").checked;
  program.textContent = dialog.querySelector("[value=python]").checked ? talk.python(compressed) : talk.javascript(compressed);
}

/** Enter in a field does what its button does; an input method's Enter only picks a word. */
function onEnter(id, action) {
  $(id).addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (connection.state === "open") action();
  });
}

$("connection").addEventListener("submit", (event) => {
  event.preventDefault();
  const url = checked("url", parseUrl);
  const subprotocols = url && checked("subprotocols", parseSubprotocols);
  if (!subprotocols) return;
  target = { url, subprotocols };
  notify();
  follower.again();
  reconnect.afresh();
});

$("close").addEventListener("click", () => {
  const code = checked("close-code", parseCloseCode);
  const reason = code && checked("close-reason", parseCloseReason);
  if (reason !== undefined) connection.close(code, reason);
});

$("stop").addEventListener("click", () => {
  if (reconnect.waiting) reconnect.stop();
  else connection.close();
  showRetry("");
  rescueFocus("connect");
});

$("reconnect").addEventListener("change", ({ target: { checked: wanted } }) => {
  if (!wanted && reconnect.waiting) $("stop").click();
});

$("message").addEventListener("submit", (event) => {
  event.preventDefault();
  sendText();
});

// A mouse leaves the focus where the next message is typed.
for (const id of ["send", "send-hex"]) $(id).addEventListener("mousedown", (event) => event.preventDefault());
for (const form of document.forms) form.addEventListener("input", ({ target: { id } }) => complain(id, ""));
onEnter("text", sendText);
onEnter("hex", sendHex);
$("send-hex").addEventListener("click", sendHex);

$("send-file").addEventListener("click", async () => {
  const [file] = $("file").files;
  forgive();
  complain("file", file ? "" : "Choose a file first.");
  const buffer = await file?.arrayBuffer().catch(() => complain("file", "This file cannot be read: choose it again."));
  if (buffer) send(new Uint8Array(buffer));
});

$("clear").addEventListener("click", () => {
  log.clear();
  follower.again();
});
$("copy").addEventListener("click", () => copy("Log", log.text()));
$("copy-code").addEventListener("click", () => copy("Code", program.textContent));
$("done").addEventListener("click", () => dialog.close());
$("code").addEventListener("click", () => {
  showCode();
  dialog.showModal();
});
dialog.addEventListener("change", showCode);

addEventListener("offline", () => {
  if (connection.state !== "open") return;
  notify(["This computer has lost its network.", "Unless the server runs here, the connection is probably dead: send something to find out."]);
});
addEventListener("online", () => connection.state === "open" && notify());

$("url").value = ownUrl;
$("connect").disabled = false;
