// Owns the head, the one sentence, and the panels at the side: budgets, farms, Redis, gaps.

import { arrange, by, make, mark, show, state, text } from "./dom.js";
import { bytes, clock, count, msOf, plural, span, title, tone } from "./format.js";

const GAPS_MAX = 8;
const NEAR = 0.8;

// What is written of the whole: `data-state` of the body, a word, a sentence, and since when.
export function drawVerdict(verdict, nowMs) {
  mark(document.body, "state", verdict.state);
  mark(document.body, "believe", verdict.believed ? "yes" : "no");
  text(by("word"), verdict.word);
  text(by("sentence"), verdict.sentence);
  text(by("since"), verdict.sinceMs === null ? "" : `${verdict.sinceWord} ${span(nowMs - verdict.sinceMs)}`);
  const title = `${verdict.word} \u00b7 ibkr_actor`;
  if (document.title !== title) document.title = title;
}

export function drawHead(status, nowMs) {
  text(by("now"), clock(nowMs));
  const session = status?.status?.session ?? {};
  text(by("root"), status?.heartbeat?.gateway ?? "");
  text(by("client"), String(session.client_id ?? "\u2013"));
  text(by("server"), String(session.server_version ?? "\u2013"));
  const offset = session.clock_offset_ms;
  text(by("offset"), offset === null || offset === undefined ? "\u2013" : `${offset > 0 ? "+" : ""}${Math.round(offset)} ms`);
  const { version, epoch, pid } = status?.heartbeat ?? {};
  text(by("process"), version ? `sidecar ${version}, process ${pid}, epoch ${epoch}` : "no sidecar");
}

const NAMES = {
  lines: "market data lines", tick_by_tick: "tick-by-tick", depth: "order books",
  messages: "messages", search: "searches", small_bars: "small bars", big_bars: "large bars",
  open_history: "history open", open_big_bars: "large bars open",
};
const name = (key) => NAMES[key] ?? key.replaceAll("_", " ");

export function drawBudgets(status) {
  const { subscriptions = {}, pacing = {} } = status?.status ?? {};
  const lines = ["lines", "tick_by_tick", "depth"].filter((key) => subscriptions[key]?.of);
  meters(by("lines"), lines.map((key) => ({ label: name(key), used: subscriptions[key].taken, of: subscriptions[key].of, per: "" })));
  const windows = Object.entries(pacing.windows ?? {}).map(([key, value]) => ({ label: name(key), used: value.used, of: value.count, per: window_(value.window_s) }));
  // History and its large bars count together: the second is told when there are some.
  const limits = Object.entries(pacing.open_limits ?? {}).filter(([key, value]) => key === "open_history" || value.open);
  const open = limits.map(([key, value]) => ({ label: name(key), used: value.open, of: value.count, per: "" }));
  meters(by("pacing"), [...windows, ...open]);
  text(by("queue"), queue(pacing));
}

const window_ = (seconds) => (seconds >= 60 ? ` in ${Math.round(seconds / 60)} min` : seconds === 1 ? " a second" : ` in ${seconds} s`);

function queue(pacing) {
  if (pacing.waiting === undefined) return "\u2013";
  const parts = [pacing.waiting ? `${plural(pacing.waiting, "request")} waiting, sent within ${pacing.drained_in_s.toFixed(1)} s` : "nothing waits"];
  if (pacing.paused_s) parts.push(`paused for ${pacing.paused_s.toFixed(1)} s`);
  if (pacing.cooldowns?.length) parts.push(`${plural(pacing.cooldowns.length, "limit")} cooling down`);
  if (pacing.pacing_violations) parts.push(`${plural(pacing.pacing_violations, "violation")} so far`);
  return parts.join(", ");
}

function meters(list, values) {
  while (list.children.length < values.length) {
    const item = make("li");
    const used = make("span", "used");
    used.append(make("b"), make("span"));
    const bar = make("div", "bar");
    bar.setAttribute("role", "meter");
    bar.setAttribute("aria-valuemin", "0");
    item.append(make("span", "label"), used, bar);
    list.append(item);
  }
  while (list.children.length > values.length) list.lastElementChild.remove();
  values.forEach(({ label, used, of, per }, place) => {
    const [labelNode, usedNode, bar] = list.children[place].children;
    text(labelNode, label);
    text(usedNode.firstChild, count(used));
    text(usedNode.lastChild, ` of ${count(of)}${per}`);
    bar.setAttribute("aria-label", label);
    bar.setAttribute("aria-valuenow", String(used));
    bar.setAttribute("aria-valuemax", String(of));
    bar.style.setProperty("--used", String(Math.min(1, used / of)));
    bar.style.setProperty("--least", used ? "5px" : "0");
    mark(bar, "tone", used >= of ? "bad" : used >= NEAR * of ? "warn" : "good");
  });
}

export function drawFarms(status, believed) {
  const farms = Object.entries(status?.status?.session?.farms ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const list = by("farms");
  if (!farms.length) {
    if (!list.querySelector(".none")) arrange(list, [make("li", "none", "none told yet")]);
    return;
  }
  const nodes = farms.map(([farm, is], place) => {
    const node = list.children[place] && !list.children[place].classList.contains("none") ? list.children[place] : make("li");
    state(node, { word: is === "up" || !believed ? farm : `${farm} ${is}`, tone: believed ? tone(is) : "none" });
    node.title = believed ? `${farm} ${is}` : `${farm} unknown`;
    return node;
  });
  arrange(list, nodes);
}

// Names and values, one row each; `tone` where it matters.
function pairs(list, rows) {
  while (list.children.length < 2 * rows.length) list.append(make("dt"), make("dd"));
  while (list.children.length > 2 * rows.length) list.lastElementChild.remove();
  rows.forEach(([label, value, is = ""], place) => {
    text(list.children[2 * place], label);
    text(list.children[2 * place + 1], value);
    mark(list.children[2 * place + 1], "tone", is);
  });
}

export function drawRedis(status, believed) {
  const counters = status?.status?.counters?.redis;
  const { ping_ms: ping, used_memory_bytes: used, maxmemory_bytes: most } = status?.redis ?? {};
  if (!counters) return pairs(by("redis"), [["state", "\u2013"]]);
  const waiting = counters.redis_waiting ?? 0;
  pairs(by("redis"), [
    ["state", believed ? (counters.redis_state ?? "\u2013") : "unknown", !believed || counters.redis_state === "up" ? "" : "bad"],
    ["records waiting", count(waiting), waiting > 10_000 ? "bad" : waiting > 1_000 ? "warn" : ""],
    ["ping", ping === undefined ? "\u2013" : `${ping.toFixed(1)} ms`, ping > 100 ? "warn" : ""],
    ["published", count(counters.redis_published)],
    ["memory", most ? `${bytes(used)} of ${bytes(most)}` : bytes(used)],
  ]);
}

export class Gaps {
  #gaps = [];

  take(record) {
    this.#gaps = [record, ...this.#gaps].slice(0, GAPS_MAX);
  }

  draw(rows, status, believed) {
    const counters = status?.status?.counters?.redis ?? {};
    const lost = ["overflow", "conflated", "restart"].map((cause) => [cause, counters[`redis_lost_${cause}`] ?? 0]).filter(([, number]) => number);
    const cut = rows.filter((row) => row.state === "starved").length;
    const stale = rows.filter((row) => row.state !== "starved" && row.freshness === "stale").length;
    const told = (number) => (believed ? plural(number, "stream") : "unknown");
    pairs(by("losses"), [
      ["cut off now", told(cut), believed && cut ? "bad" : ""],
      ["silent now", told(stale), believed && stale ? "bad" : ""],
      ["lost in the sidecar", lost.length ? lost.map(([cause, number]) => `${count(number)} ${cause}`).join(", ") : plural(0, "record"), lost.length ? "bad" : ""],
    ]);
    const list = by("gaps");
    const nodes = this.#gaps.map((gap) => (gap.node ??= line(gap)));
    arrange(list, nodes);
    show(list, nodes.length > 0);
  }
}

function line(gap) {
  const [from, to] = [msOf(gap.from_ns), msOf(gap.to_ns)];
  const node = make("li");
  const what = make("span");
  what.append(make("b", "", title(gap.instrument).name), ` ${gap.cause.replaceAll("_", " ")}`);
  const long = from !== null && to !== null ? span(to - from) : gap.lost !== null ? plural(gap.lost, "record") : "";
  node.append(what, make("span", "", `${to === null ? "" : clock(to)} ${long}`.trim()));
  return node;
}
