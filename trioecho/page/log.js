/** The Communication Log: a table that only ever grows at its end and, when full, loses its oldest row. */

import { count, format, milliseconds, sizeOf, toHex } from "./binary.js";

const MAX_ROWS = 1000;

/** How much of one long message is shown: a few lines of a phone; and all that is kept for who wants more. */
const FOLDED_CHARACTERS = 600;
const FOLDED_BYTES = 48;
const KEPT = 65_536;

export class Log {
  /** changed() hears of each change of the table's height. */
  constructor(table, changed) {
    this.table = table;
    this.rows = table.tBodies[0];
    this.changed = changed;
  }

  event(kind, text) {
    const cell = td("data", text);
    cell.colSpan = 5;
    this.#append(kind, cell);
  }

  message(from, to, data, time) {
    const trip = time === undefined ? "" : milliseconds(time);
    const size = `${format(sizeOf(data))} B`;
    this.#append(from.toLowerCase(), td("from", from), td("to", to), dataCell(data), td("size", size), td("trip", trip));
  }

  clear() {
    this.rows.replaceChildren();
  }

  /** A line for each row, with tabs between the columns. */
  text() {
    return Array.from(this.table.rows, line).join("");
  }

  #append(kind, ...cells) {
    const row = document.createElement("tr");
    row.className = kind;
    row.append(td("time", clock(new Date())), ...cells);
    this.rows.append(row);
    if (this.rows.rows.length > MAX_ROWS) this.rows.rows[0].remove();
    this.changed();
  }
}

function dataCell(data) {
  if (typeof data !== "string") {
    const code = make("code", "");
    const fold = folding(data, FOLDED_BYTES, "byte", (bytes) => code.replaceChildren(toHex(bytes)));
    return td("data", make("span", "tag", "binary"), " ", code, ...fold);
  }
  const text = new Text();
  // The style sheet shows an empty message for what it is: no text may stand in for it.
  const cell = td(data ? "data" : "data empty", text, ...folding(data, FOLDED_CHARACTERS, "character", (part) => { text.data = part; }));
  cell.dir = "auto";
  return cell;
}

/** Shows the first part of a message; returns what tells how much more there is, and the button that shows it. */
function folding(data, folded, unit, show) {
  const whole = data.length;
  show(data.slice(0, folded));
  if (whole <= folded) return [];
  const kept = data.slice(0, KEPT);
  const rest = make("span", "rest");
  const button = make("button", "fold");
  const unfold = (wanted) => {
    const part = wanted ? kept : kept.slice(0, folded);
    show(part);
    rest.textContent = part.length < whole ? ` … and ${count(whole - part.length, `more ${unit}`)}` : "";
    button.textContent = wanted ? "Show less" : `Show ${whole > KEPT ? "the first" : "all"} ${count(kept.length, unit)}`;
    button.ariaExpanded = wanted;
  };
  unfold(false);
  button.addEventListener("click", () => unfold(button.ariaExpanded === "false"));
  return [rest, button];
}

/** Content that is a string becomes text, never markup. */
export function make(tag, name, ...content) {
  const element = document.createElement(tag);
  element.className = name;
  element.append(...content);
  return element;
}

function td(name, ...content) {
  return make("td", name, ...content);
}

function clock(now) {
  const local = new Date(now - now.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(11, 23);
}

function line(row) {
  const cells = Array.from(row.cells, (cell) => said(cell).replace(/[\\\t\n\r]/g, (mark) => JSON.stringify(mark).slice(1, -1)));
  if (cells.length === 2) cells.splice(1, 0, "", "");
  return `${cells.join("\t").trimEnd()}\n`;
}

/** The text of a cell without that of the button in it. */
function said(cell) {
  return Array.from(cell.childNodes, (node) => (node.localName === "button" ? "" : node.textContent)).join("");
}
