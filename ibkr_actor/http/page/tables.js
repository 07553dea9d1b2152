// Owns the tables of streams and of system events. What is believed is decided elsewhere.

import { arrange, by, make, mark, show, state, text } from "./dom.js";
import { clock, msOf, plural, rate, span, stateOf, title, tone } from "./format.js";

const EVENTS_MAX = 50;
const EVENTS_FEW = 14;
const TROUBLE = new Set(["bad", "warn"]);

// Most events are plain facts; only what is well again or wrong stands out.
const eventTone = (event) => (["good", "bad"].includes(tone(event)) ? tone(event) : "plain");

export class Streams {
  #rows = new Map(); // kind:instrument -> cells
  #sort = { by: "name", down: false };
  #filter = "";
  #trouble = false;

  constructor() {
    by("filter").addEventListener("input", (event) => (this.#filter = event.currentTarget.value.trim().toLowerCase()));
    by("trouble").addEventListener("click", (event) => {
      this.#trouble = !this.#trouble;
      event.currentTarget.setAttribute("aria-pressed", String(this.#trouble));
    });
    for (const button of document.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sortBy(button));
    }
  }

  // `newer`: when the page got the newest record of a row by a stream of its own, or null.
  draw(rows, believed, nowMs, newer) {
    const told = rows.map((row) => {
      const receivedMs = Math.max(row.receivedMs ?? -Infinity, newer(row) ?? -Infinity);
      return { row, told: stateOf(row, believed), ageMs: receivedMs === -Infinity ? null : nowMs - receivedMs };
    });
    const shown = told.filter((each) => this.#isShown(each)).sort((a, b) => this.#compare(a, b));
    const known = new Set(rows.map((row) => row.key));
    for (const key of this.#rows.keys()) if (!known.has(key)) this.#rows.delete(key);
    arrange(by("streams"), shown.map((each) => this.#line(each)));
    show(by("streams-empty"), !shown.length);
    text(by("streams-empty"), rows.length ? "No stream is like that." : "Nothing is subscribed.");
    text(by("streams-note"), rows.length === shown.length ? String(rows.length) : `${shown.length} of ${rows.length}`);
  }

  #line({ row, told, ageMs }) {
    let cells = this.#rows.get(row.key);
    if (!cells) this.#rows.set(row.key, (cells = this.#make(row)));
    state(cells.state, told);
    cells.state.title = cells.state.textContent;
    mark(cells.node, "trust", told.tone === "none" ? "old" : "new");
    text(cells.age, span(ageMs));
    text(cells.rate, told.tone === "none" || row.state === "starved" ? "\u2013" : rate(row.rate));
    text(cells.holders, row.holders.join(", ") || "\u2013");
    cells.holders.title = row.holders.join(", ");
    return cells.node;
  }

  #make(row) {
    const node = make("tr");
    node.dataset.stream = row.key;
    const { name, more } = title(row.instrument);
    const heading = make("td", "", name);
    heading.title = row.instrument;
    heading.append(make("small", "", more));
    const cells = { node, state: make("span"), age: make("td", "number"), rate: make("td", "number rate"), holders: make("td", "holders") };
    const stateCell = make("td");
    stateCell.append(cells.state);
    node.append(heading, make("td", "", row.kind), stateCell, cells.age, cells.rate, cells.holders);
    return cells;
  }

  #isShown({ row, told }) {
    if (this.#trouble && !TROUBLE.has(told.tone)) return false;
    return !this.#filter || `${row.instrument} ${row.kind} ${told.word} ${told.why} ${row.holders.join(" ")}`.toLowerCase().includes(this.#filter);
  }

  #compare(a, b) {
    const value = ({ row, told, ageMs }) => {
      switch (this.#sort.by) {
        case "kind": return row.kind;
        case "state": return ["bad", "warn", "none", "calm", "good"].indexOf(told.tone);
        case "age": return ageMs ?? Infinity;
        case "rate": return row.rate ?? -1;
        default: return row.instrument;
      }
    };
    const [x, y] = [value(a), value(b)];
    const order = x < y ? -1 : x > y ? 1 : 0;
    return (this.#sort.down ? -order : order) || (a.row.key < b.row.key ? -1 : 1);
  }

  #sortBy(button) {
    const name = button.dataset.sort;
    this.#sort = { by: name, down: this.#sort.by === name ? !this.#sort.down : name === "age" || name === "rate" };
    for (const each of document.querySelectorAll("[data-sort]")) each.closest("th").removeAttribute("aria-sort");
    button.closest("th").setAttribute("aria-sort", this.#sort.down ? "descending" : "ascending");
  }
}

export class SystemEvents {
  #seen = new Set();

  constructor() {
    by("events-all").addEventListener("click", (event) => {
      const all = event.currentTarget.getAttribute("aria-expanded") !== "true";
      event.currentTarget.setAttribute("aria-expanded", String(all));
      text(event.currentTarget, all ? "show fewer" : "show all");
    });
  }

  take(record) {
    if (record.tag !== "system" || this.#seen.has(record.id)) return;
    this.#seen.add(record.id);
    const row = make("tr");
    const time = make("time", "", clock(msOf(record.at_ns)));
    time.dateTime = new Date(msOf(record.at_ns)).toISOString();
    const when = make("td");
    when.append(time);
    const what = make("td");
    const word = make("span");
    state(word, { word: record.event.replaceAll("_", " "), tone: eventTone(record.event) });
    what.append(word);
    const message = make("td", "", record.message);
    if (record.code !== null) message.append(" ", make("code", "", String(record.code)));
    row.append(when, make("td", "topic", record.topic), what, message);
    const body = by("events");
    body.prepend(row);
    while (body.children.length > EVENTS_MAX) body.lastElementChild.remove();
    if (this.#seen.size > 10 * EVENTS_MAX) this.#seen = new Set([...this.#seen].slice(-EVENTS_MAX));
  }

  draw(isFollowed) {
    const rows = [...by("events").children];
    const all = by("events-all").getAttribute("aria-expanded") === "true";
    rows.forEach((row, place) => show(row, all || place < EVENTS_FEW));
    show(by("events-all"), rows.length > EVENTS_FEW);
    const shown = all ? rows.length : Math.min(EVENTS_FEW, rows.length);
    show(by("events-empty"), !shown);
    text(by("events-note"), isFollowed ? (shown ? `the last ${plural(shown, "event")}, newest first, UTC` : "") : "not followed: connecting to the server again");
  }
}
