// Owns the cards of live quotes with their charts. What is believed is decided elsewhere.

import { arrange, by, make, mark, show, state, text } from "./dom.js";
import { QUOTES_MAX } from "./feed.js";
import { decimals, msOf, price, size, span, stateOf, title } from "./format.js";

const WINDOW_MS = 120_000;
const WINDOW_MIN_MS = 20_000;
const POINTS_MAX = 600;
const WIDTH = 240;
const HEIGHT = 44;
const FEW = 9;
const CARD_PX = { least: 196, most: 320, between: 12 };
// A price that only goes one step up and down is a calm one: so many steps make the height of a chart at least.
const STEPS_MIN = 8;
const SVG = "http://www.w3.org/2000/svg";

const number = (value) => (value === null || value === undefined ? null : Number(value));

class Card {
  constructor(instrument) {
    const { name, more } = title(instrument);
    this.node = make("li", "card");
    this.node.dataset.instrument = instrument;
    const heading = make("p", "name", name);
    heading.title = instrument;
    heading.append(make("small", "", more));
    this.badge = make("p", "badge");
    this.value = make("p", "price");
    this.figure = make("span", "", "\u2013");
    this.what = make("small");
    this.value.append(this.figure, this.what);
    this.age = make("p", "age", "\u2013");
    this.book = make("dl", "book");
    [this.bid, this.bidSize, this.ask, this.askSize] = ["bid", "ask"].flatMap((side) => {
      const [price, size] = [make("b", "", "\u2013"), make("span", "", "\u2013")];
      const value = make("dd");
      value.append(price, size);
      this.book.append(make("dt", "", side), value);
      return [price, size];
    });
    this.#chart(name);
    const inside = make("div", "inside");
    const tell = make("div", "tell");
    tell.append(this.age, this.badge);
    inside.append(heading, tell, this.value, this.book, this.svg);
    this.node.append(inside);
    this.points = []; // [ms, price], null between two that have a gap between them
    this.places = 0;
    this.step = null; // the smallest difference of two prices so far
    this.receivedMs = null;
    this.quote = null;
    this.changed = true;
  }

  #chart(name) {
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("aria-label", `${name}, middle of bid and ask, the last two minutes`);
    [this.base, this.area, this.curve] = ["base", "area", "curve"].map((className) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", className);
      this.svg.append(path);
      return path;
    });
    this.base.setAttribute("d", `M0 ${HEIGHT - 0.5}H${WIDTH}`);
  }

  take(quote) {
    const [bid, ask, last] = [number(quote.bid), number(quote.ask), number(quote.last)];
    for (const each of [quote.bid, quote.ask, quote.last]) {
      if (each !== null && each !== undefined) this.places = Math.max(this.places, decimals(each));
    }
    for (const [one, other] of [[bid, ask], [bid, this.quote?.bid ?? null]]) {
      if (one !== null && other !== null && one !== other) this.step = Math.min(this.step ?? Infinity, Math.abs(one - other));
    }
    const middle = bid !== null && ask !== null ? (bid + ask) / 2 : null;
    this.quote = { bid, ask, shown: last ?? middle, what: last !== null ? "last" : "mid", bidSize: quote.bid_size, askSize: quote.ask_size };
    this.receivedMs = msOf(quote.received_ns);
    const point = middle ?? last;
    if (point !== null) this.points.push([this.receivedMs, point]);
    if (this.points.length > POINTS_MAX) this.points.splice(0, this.points.length - POINTS_MAX);
    this.changed = true;
  }

  // A loss: the curve is not drawn across it.
  break() {
    if (this.points.length && this.points.at(-1) !== null) this.points.push(null);
  }

  draw(row, believed, nowMs) {
    const told = stateOf(row, believed);
    state(this.badge, told);
    mark(this.node, "trust", believed && (told.tone === "good" || told.tone === "calm") ? "new" : "old");
    text(this.age, this.receivedMs === null ? "\u2013" : span(nowMs - this.receivedMs));
    if (this.changed && this.quote !== null) this.#drawQuote();
    this.#drawCurve(nowMs);
    this.changed = false;
  }

  #drawQuote() {
    const { bid, ask, shown, what, bidSize, askSize } = this.quote;
    // Half a tick has one place more, which must not make the number jump.
    text(this.figure, price(shown, what === "mid" ? this.places + 1 : this.places));
    text(this.what, what);
    text(this.bid, price(bid, this.places));
    text(this.ask, price(ask, this.places));
    text(this.bidSize, size(bidSize));
    text(this.askSize, size(askSize));
  }

  // Time goes on to the right whether or not data come: a curve that ends before the edge is an old one.
  #drawCurve(nowMs) {
    while (this.points.length > 1 && (this.points[0] === null || (this.points[1] !== null && this.points[1][0] < nowMs - WINDOW_MS))) this.points.shift();
    const known = this.points.filter((point) => point !== null);
    if (!known.length) return;
    const windowMs = Math.min(WINDOW_MS, Math.max(WINDOW_MIN_MS, nowMs - known[0][0]));
    const from = nowMs - windowMs;
    let [low, high] = [Infinity, -Infinity];
    for (const [, value] of known) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const room = Math.max(high - low, STEPS_MIN * (this.step ?? 10 ** -this.places));
    high += (room - (high - low)) / 2;
    const x = (ms) => Math.max(0, ((ms - from) / windowMs) * WIDTH).toFixed(1);
    const y = (value) => (3 + ((high - value) / room) * (HEIGHT - 8)).toFixed(1);
    let [line, area, begun] = ["", "", null];
    const close = (end) => {
      if (begun !== null && end !== begun) area += `V${HEIGHT}H${begun}Z`;
    };
    let [before, lastX] = [null, null];
    for (const point of this.points) {
      if (point === null) {
        close(lastX);
        before = null;
        continue;
      }
      const [px, py] = [x(point[0]), y(point[1])];
      const piece = before === null ? `M${px} ${py}` : `H${px}V${py}`;
      if (before === null) begun = px;
      line += piece;
      area += piece;
      [before, lastX] = [point, px];
    }
    close(lastX);
    this.curve.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }
}

export class Quotes {
  #cards = new Map();
  #all = false;
  #spreadFor = 0; // so many cards were told their columns

  constructor() {
    new ResizeObserver(() => this.#spread()).observe(by("cards"));
    by("quotes-all").addEventListener("click", (event) => {
      this.#all = !this.#all;
      event.currentTarget.setAttribute("aria-expanded", String(this.#all));
    });
  }

  // When the newest quote of an instrument came; null where this page has none.
  receivedMs(instrument) {
    return this.#cards.get(instrument)?.receivedMs ?? null;
  }

  // Instruments whose quotes are to be followed, in the order of the cards.
  wanted(rows) {
    return rows.filter((row) => row.kind === "quote").map((row) => row.instrument).sort();
  }

  take(quote) {
    this.#card(quote.instrument).take(quote);
  }

  gap(record) {
    if (record.kind === "quote") this.#card(record.instrument).break();
  }

  // The page was away from the stream: what lay between is not known.
  breakAll() {
    for (const card of this.#cards.values()) card.break();
  }

  draw(rows, believed, nowMs) {
    const quotes = new Map(rows.filter((row) => row.kind === "quote").map((row) => [row.instrument, row]));
    for (const instrument of this.#cards.keys()) if (!quotes.has(instrument)) this.#cards.delete(instrument);
    const names = [...quotes.keys()].sort();
    const shown = this.#all ? names : names.slice(0, FEW);
    arrange(by("cards"), shown.map((instrument) => this.#card(instrument).node));
    if (this.#spreadFor !== shown.length) this.#spread();
    for (const instrument of shown) this.#card(instrument).draw(quotes.get(instrument), believed, nowMs);
    show(by("quotes-empty"), !names.length && believed);
    const more = by("quotes-all");
    show(more, names.length > FEW);
    text(more, this.#all ? "show fewer" : `show all ${names.length}`);
    const note = names.length > QUOTES_MAX ? `the first ${QUOTES_MAX} of ${names.length} are followed live` : "charts: middle of bid and ask, the last two minutes";
    text(by("quotes-note"), names.length ? note : "");
  }

  #spread() {
    const cards = by("cards");
    this.#spreadFor = cards.children.length;
    cards.style.setProperty("--columns", String(columns(this.#spreadFor, cards.clientWidth)));
  }

  #card(instrument) {
    let card = this.#cards.get(instrument);
    if (!card) this.#cards.set(instrument, (card = new Card(instrument)));
    return card;
  }
}

// How many cards stand side by side: as many as leave the fewest places empty in the last row.
function columns(cards, width) {
  const fit = (size) => Math.max(1, Math.floor((width + CARD_PX.between) / (size + CARD_PX.between)));
  const [fewest, most] = [fit(CARD_PX.most), Math.max(fit(CARD_PX.least), Math.min(2, cards))];
  if (fewest === 1) return most;
  const empty = (count) => Math.ceil(cards / count) * count - cards;
  let best = fewest;
  for (let each = fewest; each <= most; each++) if (empty(each) < empty(best)) best = each;
  return best;
}
