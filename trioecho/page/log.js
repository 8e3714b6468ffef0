/** The Communication Log: a table that only ever grows at its end and, when full, loses its oldest row. */

import { count, format, milliseconds, sizeOf, toHex } from "./binary.js";

const MAX_ROWS = 1000;

/** How much of one long message is worth reading in a table. */
const SHOWN_CHARACTERS = 5000;
const SHOWN_BYTES = 256;

export class Log {
  #frame = 0;

  /** region is the scrolling element around the table. */
  constructor(region) {
    this.region = region;
    this.table = region.querySelector("table");
    this.rows = this.table.tBodies[0];
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
    this.#followEnd();
    this.rows.append(row);
    if (this.rows.rows.length > MAX_ROWS) this.rows.rows[0].remove();
  }

  /** Keeps the end in view for who looks at it; once a frame, because asking for a height lays out the table. */
  #followEnd() {
    if (this.#frame) return;
    const { scrollTop, clientHeight, scrollHeight } = this.region;
    const atEnd = scrollTop + clientHeight > scrollHeight - 9;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (atEnd) this.region.scrollTop = this.region.scrollHeight;
    });
  }
}

function dataCell(data) {
  if (typeof data !== "string") {
    return td("data", make("span", "tag", "binary"), " ", make("code", "", toHex(data.subarray(0, SHOWN_BYTES))), rest(data.length - SHOWN_BYTES, "byte"));
  }
  // The style sheet shows an empty message for what it is: no text may stand in for it.
  const cell = td(data ? "data" : "data empty", data.slice(0, SHOWN_CHARACTERS), rest(data.length - SHOWN_CHARACTERS, "character"));
  cell.dir = "auto";
  return cell;
}

/** Says how much is not shown. */
function rest(number, unit) {
  return number > 0 ? make("span", "rest", ` … and ${count(number, `more ${unit}`)}`) : "";
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
  const cells = Array.from(row.cells, (cell) => cell.textContent.replace(/[\\\t\n\r]/g, (mark) => JSON.stringify(mark).slice(1, -1)));
  if (cells.length === 2) cells.splice(1, 0, "", "");
  return `${cells.join("\t").trimEnd()}\n`;
}
