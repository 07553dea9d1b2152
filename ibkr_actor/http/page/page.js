// Owns what the page knows and what of it may be believed; everything is drawn from here, four times a second.

import { Events, poll, quotesPath, SYSTEM_PATH } from "./feed.js";
import { msOf, plural } from "./format.js";
import { drawBudgets, drawFarms, drawHead, drawRedis, drawVerdict, Gaps } from "./panels.js";
import { Quotes } from "./quotes.js";
import { Streams, SystemEvents } from "./tables.js";

const DRAW_EVERY_MS = 250;
// Answers come every two seconds; what is older than this is told as old.
const OLD_MS = 7_000;
// A rate is that of so long, so that slow streams have one.
const RATE_MS = 15_000;

const known = {
  status: null, // the newest answer, however old
  rows: [],
  answeredMs: null, // when both came, on this machine's clock
  refused: null, // why the newest question was not answered
  refusedSinceMs: null,
  offsetMs: 0, // the server's clock less this machine's
};
const quotes = new Quotes();
const streams = new Streams();
const events = new SystemEvents();
const gaps = new Gaps();

const quoteEvents = new Events({
  quote: (quote) => quotes.take(quote),
  gap: (record) => {
    gaps.take(record);
    quotes.gap(record);
  },
  lost: () => {
    quotes.breakAll();
    askSoon();
  },
});
const systemEvents = new Events({
  system: (record) => {
    events.take(record);
    askSoon();
  },
  lost: () => askSoon(),
});

const nowMs = () => Date.now() + known.offsetMs;

function takeStatus(body) {
  known.status = body;
  known.offsetMs = msOf(body.now_ns) - Date.now();
}

function takeSubscriptions(body) {
  const before = new Map(known.rows.map((row) => [row.key, row]));
  known.rows = body.subscriptions.map((listed) => rowOf(listed, before.get(`${listed.kind}:${listed.instrument}`)));
  known.answeredMs = Date.now();
  known.refused = known.refusedSinceMs = null;
  quoteEvents.follow(quotesPath(quotes.wanted(known.rows)));
}

function rowOf(listed, before) {
  const row = {
    key: `${listed.kind}:${listed.instrument}`,
    instrument: listed.instrument,
    kind: listed.kind,
    state: listed.state,
    reason: listed.reason,
    freshness: listed.freshness,
    feed: listed.feed,
    sinceMs: msOf(listed.since_ns),
    receivedMs: msOf(listed.received_ns),
    epoch: listed.epoch ?? null,
    seq: listed.seq ?? null,
    holders: listed.holders.map((holder) => holder.client),
    samples: before?.epoch === listed.epoch ? before.samples : [],
    rate: null,
  };
  if (row.seq === null) return row;
  row.samples = [...row.samples, [nowMs(), row.seq]];
  while (row.samples.length > 2 && nowMs() - row.samples[1][0] > RATE_MS) row.samples.shift();
  const [[fromMs, from], [toMs, to]] = [row.samples[0], row.samples.at(-1)];
  if (toMs > fromMs) row.rate = ((to - from) * 1000) / (toMs - fromMs);
  return row;
}

function takeRefusal(error) {
  known.refused = error;
  known.refusedSinceMs ??= Date.now();
}

const REFUSALS = {
  redis_unavailable: ["no Redis", "The server cannot reach Redis. What stands below was true before."],
  no_sidecar: ["no sidecar", "Nobody publishes: there is no heartbeat. What stands below is what was known last."],
  unauthorized: ["not allowed", "The server wants a token: open this page with ?access_token=..."],
};

// What is to be said, and whether states, rates and budgets are those of now.
function verdict() {
  const atMs = Date.now();
  const lastMs = known.answeredMs === null ? null : known.answeredMs + known.offsetMs;
  const away = { believed: false, sinceMs: lastMs, sinceWord: "last seen" };
  if (known.refused?.code in REFUSALS) {
    const [word, sentence] = REFUSALS[known.refused.code];
    return { state: "bad", word, sentence, ...away };
  }
  if (known.refused && (known.refused.code === null || atMs - (known.answeredMs ?? 0) > OLD_MS)) {
    const sentence = `This page has lost the server (${known.refused.message}). What stands below is old.`;
    return { state: "bad", word: known.refused.code === null ? "server lost" : "no answer", sentence, ...away };
  }
  if (known.answeredMs === null) {
    return { state: "starting", word: "starting", sentence: "Waiting for the first answer.", ...away, sinceMs: null };
  }
  if (atMs - known.answeredMs > OLD_MS) {
    return { state: "bad", word: "server lost", sentence: "This page has no answer from the server. What stands below is old.", ...away };
  }
  return { believed: true, ...ofSession(known.status.status.session ?? {}) };
}

function ofSession(session) {
  const since = { sinceMs: msOf(session.since_ns), sinceWord: "for" };
  const word = (session.state ?? "unknown").replaceAll("_", " ");
  if (session.state !== "ready") {
    const next = typeof session.next_try_in_s === "number" ? " It is tried again." : "";
    const error = (session.last_error || "The gateway is not usable").replace(/\.?$/, ".");
    const calm = session.state === "scheduled_outage";
    // The state may change with every try; what counts is since when there have been no data.
    const cutMs = known.rows.filter((row) => row.state === "starved").map((row) => row.sinceMs);
    const away = cutMs.length ? { sinceMs: Math.min(...cutMs), sinceWord: "no data for" } : since;
    return { state: calm ? "waiting" : "bad", word, sentence: `${error}${next}`, ...away };
  }
  const number = (test) => known.rows.filter(test).length;
  const cut = number((row) => row.state === "starved");
  const stale = number((row) => row.state !== "starved" && row.freshness === "stale");
  const waiting = number((row) => row.state === "pending");
  const quiet = number((row) => row.freshness === "quiet");
  const fresh = number((row) => row.state === "live" && row.freshness === "fresh");
  const parts = [[cut, "cut off"], [stale, "stale"], [waiting, "without data yet"], [quiet, "quiet"], [fresh, "fresh"]];
  const told = parts.filter(([many]) => many).map(([many, what]) => `${many} ${what}`).join(", ");
  const one = parts.find(([many]) => many === known.rows.length)?.[1];
  const list = one && known.rows.length > 1 ? `, all ${one}` : `: ${told}`;
  const sentence = known.rows.length ? `${plural(known.rows.length, "stream")}${list}.` : "Connected. Nothing is subscribed.";
  return { state: cut || stale ? "uneasy" : "ok", word, sentence, ...since };
}

function draw() {
  const found = verdict();
  const now = nowMs();
  drawVerdict(found, now);
  if (document.hidden) return; // the title alone is seen
  drawHead(known.status, now);
  drawBudgets(known.status);
  drawFarms(known.status, found.believed);
  drawRedis(known.status, found.believed);
  // Quotes are of now only while their own stream is open, too.
  quotes.draw(known.rows, found.believed && (quoteEvents.isOpen || !quoteEvents.isWanted), now);
  streams.draw(known.rows, found.believed, now, (row) => (row.kind === "quote" ? quotes.receivedMs(row.instrument) : null));
  gaps.draw(known.rows, known.status, found.believed);
  events.draw(systemEvents.isOpen);
}

const askSoon = poll(
  { status: "api/v1/status", subscriptions: "api/v1/subscriptions" },
  (name, body) => (name === "status" ? takeStatus(body) : takeSubscriptions(body)),
  takeRefusal,
);
systemEvents.follow(SYSTEM_PATH);
draw();
setInterval(draw, DRAW_EVERY_MS);
document.addEventListener("visibilitychange", draw);
