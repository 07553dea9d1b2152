// Owns how numbers, times and names are written. Knows neither the document nor the server.

const DASH = "\u2013";

// A length of time in two units at most: 0.4s, 12s, 3m 05s, 2h 14m, 5d 03h.
export function span(ms) {
  if (ms === null || !Number.isFinite(ms)) return DASH;
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${(Math.floor(seconds * 10) / 10).toFixed(1)}s`;
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole}s`;
  const pad = (value) => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${pad(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${pad(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d ${pad(Math.floor((whole % 86400) / 3600))}h`;
}

// Nanoseconds as text, which no number can hold exactly, as milliseconds; null where there are none.
export function msOf(ns) {
  if (ns === null || ns === undefined || ns === "") return null;
  return Number(BigInt(ns) / 1000n) / 1000;
}

export function clock(ms) {
  return new Date(ms).toISOString().slice(11, 19);
}

export function count(value) {
  return value === null || value === undefined ? DASH : Number(value).toLocaleString("en-US").replaceAll(",", "\u202f");
}

export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

export function bytes(value) {
  if (value === null || value === undefined) return DASH;
  const units = ["B", "KiB", "MiB", "GiB"];
  const power = value < 1 ? 0 : Math.min(3, Math.floor(Math.log2(value) / 10));
  return `${(value / 1024 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

export function rate(value) {
  if (value === null || value === undefined) return DASH;
  return value >= 100 ? count(Math.round(value)) : value.toFixed(1);
}

// How many decimals a price has, as far as a screen should show them; one alone is written as two.
export function decimals(price) {
  const text = String(price);
  const point = text.indexOf(".");
  const places = point < 0 || text.includes("e") ? 0 : Math.min(8, text.length - point - 1);
  return places === 1 ? 2 : places;
}

export function price(value, places) {
  return value === null ? DASH : value.toFixed(places);
}

// Sizes of millions are written short, so that a row keeps its width.
export function size(value) {
  if (value === null || value === undefined) return DASH;
  const number = Number(value);
  if (number >= 1e6) return `${+(number / 1e6).toFixed(2)}M`;
  if (number >= 1e5) return `${+(number / 1e3).toFixed(0)}k`;
  return count(number);
}

// A canonical id for people: the name, and what tells it from others of that name.
export function title(instrument) {
  const [bare, suffix] = instrument.split("@");
  const parts = bare.split(".").map(decoded);
  const [symbol, type, exchange, currency, date] = parts;
  if (parts.length < 4) return { name: instrument, more: "" };
  const at = suffix ? ` @${suffix}` : "";
  if (type === "CASH") return { name: `${symbol}/${currency}`, more: `${exchange}${at}` };
  if (["OPT", "FOP", "WAR"].includes(type)) {
    const strike = parts.slice(6, -1).join(".");
    return { name: `${symbol} ${strike}${parts[5] ?? ""}`, more: `${date ?? ""} ${exchange}${at}` };
  }
  if (type === "FUT") return { name: `${symbol} ${(date ?? "").slice(0, 6)}`, more: `${exchange} ${currency}${at}` };
  return { name: symbol, more: `${type} ${exchange} ${currency}${at}` };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const TONES = {
  fresh: "good", live: "good", up: "good", idle: "good", ready: "good",
  quiet: "calm", pending: "warn", connecting: "warn", degraded: "warn",
  stale: "bad", starved: "bad", down: "bad", lost: "bad", upstream_lost: "bad", failed: "bad", refused: "bad", dropped: "bad",
};

// good, calm, warn, bad or none: what colour and shape a word gets.
export function tone(word) {
  return TONES[word] ?? "none";
}

const FEEDS = { 2: "frozen", 3: "delayed", 4: "delayed-frozen" };

// What to say of a stream: a word, its tone, and why. Where nothing can be believed there is one word for it.
export function stateOf(row, believed) {
  if (!believed) return { word: "unknown", tone: "none", why: "" };
  if (row.state === "starved") return { word: "cut off", tone: "bad", why: (row.reason ?? "").replaceAll("_", " ") };
  const word = row.freshness ?? row.state ?? "unknown";
  return { word, tone: tone(word), why: FEEDS[row.feed] ?? "" };
}
