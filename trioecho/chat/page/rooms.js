/** Who is here, and which rooms there are. */

import { format } from "../binary.js";
import { make } from "../log.js";

export class Rooms {
  /** The id of this page's connection, and its room, when it is in one. */
  me = undefined;
  room = undefined;
  #names = new Map();
  #complete = true;

  constructor(list, people, title) {
    this.lists = { rooms: list, people };
    this.title = title;
  }

  /** The server says where this page is. */
  entered({ id, room, people, number, rooms }) {
    this.me = id;
    this.room = room;
    this.#know(people, number);
    this.list(rooms);
  }

  /** Takes who is in a room now; returns sentences that tell who has come and gone. */
  people(room, people, number) {
    // One's own going is not told: the page knows it, or is about to.
    if (room !== this.room || !people.some(([id]) => id === this.me) && people.length === number) return [];
    const before = this.#names;
    const comparable = this.#complete;
    this.#know(people, number);
    return comparable && this.#complete ? changes(before, this.#names, this.me) : [];
  }

  list(rooms) {
    const at = document.activeElement?.closest("#rooms button")?.value;
    this.lists.rooms.replaceChildren(...rooms.map(([name, number]) => {
      const people = make("span", "number", format(number));
      people.ariaLabel = number === 1 ? "1 person" : `${format(number)} people`;
      people.role = "img";
      const button = make("button", "", make("span", "name", name), people);
      button.type = "button";
      button.value = name;
      button.title = name;
      if (name === this.room) button.ariaCurrent = "true";
      return make("li", "", button);
    }));
    // Who is at the keyboard stays at the room where he was.
    const buttons = [...this.lists.rooms.querySelectorAll("button")];
    if (at !== undefined) (buttons.find((each) => each.value === at) ?? buttons[0])?.focus();
  }

  /** Nobody is told of any more. */
  nobody() {
    this.me = this.room = undefined;
    this.#know([], 0);
    this.list([]);
  }

  #know(people, number) {
    this.#names = new Map(people);
    this.#complete = people.length === number;
    const rows = people.map(([id, name]) => {
      const shown = make("span", "name", name);
      shown.title = name;
      return make("li", "", shown, ...(id === this.me ? [make("span", "tag", "you")] : []));
    });
    if (!this.#complete) rows.push(make("li", "rest", `and ${format(number - people.length)} more`));
    this.lists.people.replaceChildren(...rows);
    this.title.replaceChildren("Here", ...(number ? [" ", make("span", "number", format(number))] : []));
  }
}

function changes(before, after, me) {
  const told = [];
  for (const [id, name] of after) {
    if (id === me) continue;
    if (!before.has(id)) told.push(`${name} has come in.`);
    else if (before.get(id) !== name) told.push(`${before.get(id)} is called ${name} now.`);
  }
  for (const [id, name] of before) if (!after.has(id)) told.push(`${name} has left.`);
  return told;
}
