/** The picker of the faults: what each has a browser show, and, when they are run, what this one does show. */

import { count } from "./binary.js";
import { Run, described, differences, faultsAt, serverSaw } from "./faultrun.js";
import { make } from "./log.js";

const $ = (id) => document.getElementById(id);
const table = document.querySelector("[name=trioecho-faults]").content;
const base = table.slice(0, table.lastIndexOf("/"));
const dialog = $("faults");
const progress = dialog.querySelector("progress");
const bodies = dialog.querySelector("table");

/** One trial with its row; and the run that goes on. */
let lines = [];
let run;

class Line {
  constructor(trial) {
    this.trial = trial;
    this.button = make("button", "pick mono", trial.path);
    this.button.addEventListener("click", () => pick(trial));
    const expected = make("td", "data", trial.shows);
    for (const text of [trial.hides, trial.alone && `Not run with the others. ${trial.known.why}`]) {
      if (text) expected.append(make("p", "quiet", text));
    }
    this.seen = make("td", "data");
    this.row = make("tr", "", make("th", "", this.button), expected, this.seen);
    this.row.firstChild.scope = "row";
  }

  clear() {
    this.row.className = "";
    this.seen.replaceChildren();
  }

  running() {
    this.row.className = "running";
    this.seen.replaceChildren("running…");
  }

  /** Shows what was seen; returns how it compares: "right", "known" or "wrong". */
  show(seen, fill) {
    const found = differences(this.trial.expect, seen, fill);
    const { known } = this.trial;
    const isKnown = found.length > 0 && known !== null && !differences(known.shows, seen, fill).length;
    const kind = isKnown ? "known" : found.length ? "wrong" : "right";
    const verdict = { right: "✓ as expected", known: "≈ known", wrong: `✗ differs: ${found.join(", ")}` }[kind];
    this.row.className = kind;
    this.seen.replaceChildren(make("strong", "", verdict), make("p", "", described(seen)));
    for (const text of [isKnown && known.why, serverSaw(seen)]) {
      if (text) this.seen.append(make("p", "quiet", text));
    }
    return kind;
  }
}

function group(fault) {
  const title = make("th", "", make("span", "mono", fault.path), ` ${fault.does}. A client should show: ${fault.expect}.`);
  title.colSpan = 3;
  title.scope = "rowgroup";
  const own = fault.trials.map((trial) => new Line(trial));
  lines.push(...own);
  bodies.append(make("tbody", "", make("tr", "fault", title), ...own.map(({ row }) => row)));
}

async function open() {
  dialog.showModal();
  if (lines.length) return;
  try {
    (await faultsAt(table)).forEach(group);
    $("run").disabled = false;
    $("run").focus();
  } catch {
    $("outcome").textContent = "The table of faults could not be loaded. Reload the page when its server is there.";
  }
}

/** Fills in the URL, and the first message where the fault waits for one: to connect is left to the person. */
function pick(trial) {
  const filled = { url: new Run(base).url(trial.path, trial.login), subprotocols: trial.offer.join(", "), text: trial.say[0] ?? "" };
  for (const [id, value] of Object.entries(filled)) {
    $(id).value = value;
    $(id).dispatchEvent(new Event("input", { bubbles: true }));
  }
  dialog.close();
  $($("connect").disabled ? "url" : "connect").focus();
}

async function runAll() {
  const those = lines.filter(({ trial }) => !trial.alone);
  const found = { right: 0, known: 0, wrong: 0 };
  const mine = new Run(base);
  run = mine;
  lines.forEach((line) => line.clear());
  $("outcome").className = "";
  $("outcome").textContent = `Trying ${count(those.length, "path")}.`;
  progress.max = those.length;
  switchTo("cancel");
  let done = 0;
  for (const line of those) {
    progress.value = done;
    $("at").textContent = `${done + 1} of ${those.length}: ${line.trial.path}`;
    line.running();
    const seen = await mine.try(line.trial);
    if (!seen) {
      line.clear();
      break;
    }
    found[line.show(seen, (text) => mine.fill(text))] += 1;
    done += 1;
  }
  progress.value = done;
  $("at").textContent = `${done} of ${those.length}`;
  $("outcome").textContent = summary(done === those.length, found);
  $("outcome").className = found.wrong ? "wrong" : done === those.length ? "right" : "";
  run = undefined;
  switchTo("run");
}

function summary(complete, { right, known, wrong }) {
  const parts = [`${right} as expected`];
  if (known) parts.push(`${known} as is known of some browser`);
  parts.push(`${wrong || "none"} ${wrong === 1 ? "differs" : "differ"}`);
  return `${complete ? "Done" : "Cancelled"}: ${parts.join(", ")}.`;
}

/** A button that is disabled loses the focus to nowhere. */
function switchTo(id) {
  const focused = [$("run"), $("cancel"), document.body].includes(document.activeElement);
  $("run").disabled = id !== "run";
  $("cancel").disabled = id !== "cancel";
  if (focused && dialog.open) $(id).focus();
}

const opener = make("button", "", "Faults…");
opener.id = "open-faults";
opener.setAttribute("aria-haspopup", "dialog");
opener.addEventListener("click", open);
$("state").before(make("span", "tools", opener));

$("run").addEventListener("click", runAll);
$("cancel").addEventListener("click", () => run?.cancel());
$("leave").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => run?.cancel());
