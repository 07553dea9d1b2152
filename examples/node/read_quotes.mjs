// Subscribe to quotes and read them as a consumer group: node read_quotes.mjs [INSTRUMENT] [COUNT]
//
// IBKR_REDIS_URL names the server (default redis://127.0.0.1:6379/0). Reads both encodings: msgpack in field `d` and
// JSON in field `j`. Prints COUNT quotes (default: for ever), and every gap, reset and loss on the way.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { decode } from "@msgpack/msgpack";
import { createClient, RESP_TYPES } from "redis";

const [instrument = "AAPL", count = "0"] = process.argv.slice(2);
const ROOT = `${process.env.IBKR_PREFIX ?? "ibkr"}:{${process.env.IBKR_GATEWAY_NAME ?? "g1"}}`;
const CLIENT = `node-${randomUUID().slice(0, 8)}`;
const GROUP = "node-example";
const LEASE_S = 60;

// The fields of a record in their order (docs/STREAMS.md, "Records"); docs/schema/schema.json has them all.
const COMMON = ["tag", "epoch", "seq", "con_id", "received_ns", "source_ns", "feed", "flags"];
const FIELDS = {
  quote: ["bid", "ask", "last", "bid_size", "ask_size", "last_size", "volume", "changed"],
  gap: ["cause", "from_ns", "to_ns", "first_seq", "lost", "refilled"],
  reset: ["reason", "prev_epoch", "prev_seq", "prev_id"],
  end: ["reason"],
};

// A record as an object; null for a tag that is not known here, which a reader must skip.
function recordOf(entry) {
  const fields = Object.fromEntries(Object.entries(entry).map(([name, value]) => [name.toString(), value]));
  if (fields.j) return JSON.parse(fields.j.toString());
  // Nanoseconds are beyond 2^53, where a number is no longer exact: they come as BigInt.
  const items = decode(fields.d, { useBigInt64: true });
  const names = FIELDS[items[0]];
  if (!names) return null;
  return Object.fromEntries([...COMMON, ...names].map((name, at) => [name, items[at]]));
}

// A command that is repeated after a lost connection would make XREADGROUP skip entries: nothing waits for a reconnect.
const redis = createClient({
  url: process.env.IBKR_REDIS_URL ?? "redis://127.0.0.1:6379/0",
  disableOfflineQueue: true,
}).withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
redis.on("error", (error) => console.error(`redis: ${error.message}`));
await redis.connect();
// A read that waits keeps its connection to itself, so commands and leases have another.
const commands = redis.duplicate();
commands.on("error", () => {});
await commands.connect();

async function call(command, timeoutMs = 30_000) {
  const id = randomUUID();
  const replies = `${ROOT}:replies:${CLIENT}`;
  let position = "0";
  await commands.xAdd(`${ROOT}:commands`, "*", { j: JSON.stringify({ id, client: CLIENT, ...command }) });
  for (const until = Date.now() + timeoutMs; Date.now() < until; ) {
    const answer = await commands.xRead({ key: replies, id: position }, { BLOCK: 1000 });
    for (const entry of answer?.[0].messages ?? []) {
      position = entry.id.toString();
      const reply = JSON.parse(Object.values(entry.message)[0].toString());
      if (reply.id !== id) continue;
      if (reply.error) throw new Error(`${reply.error.code}: ${reply.error.message}`);
      return reply;
    }
  }
  throw new Error(`no answer within ${timeoutMs / 1000} s: is a sidecar running for ${ROOT}?`);
}

const last = {}; // epoch and seq of the record read before: what was trimmed unread is a hole in seq
function checkForHoles(record) {
  const first = record.tag === "gap" && record.first_seq !== null ? record.first_seq : record.seq;
  if (last.epoch === record.epoch && Number(first) > Number(last.seq) + 1) {
    console.log(`too slow: ${Number(first) - Number(last.seq) - 1} records were trimmed unread`);
  }
  last.epoch = record.epoch;
  last.seq = record.seq;
}

// Returns whether it was a quote.
function handle(id, record) {
  if (!record) return false;
  checkForHoles(record);
  switch (record.tag) {
    case "quote":
      console.log(id, instrument, record.bid, record.ask, record.last);
      return true;
    case "gap":
      console.log(id, `gap (${record.cause}): ${record.lost ?? "an unknown number of"} records are missing`);
      return false;
    case "reset":
      console.log(id, `reset (${record.reason}): a new term of publishing, epoch ${record.epoch}`);
      return false;
    case "end":
      console.log(id, `end (${record.reason}): the line was given back`);
      return false;
  }
  return false;
}

let stopping = false;
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => (stopping = true));

let renewal;
try {
  const { streams } = await call({ op: "subscribe", instrument, kinds: ["quote"], lease_s: LEASE_S });
  renewal = setInterval(() => call({ op: "renew" }).catch((e) => console.error(e.message)), (LEASE_S / 3) * 1000);
  const [key] = streams;
  await redis.xGroupCreate(key, GROUP, "$", { MKSTREAM: true }).catch((error) => {
    if (!error.message.startsWith("BUSYGROUP")) throw error;
  });
  let printed = 0;
  let position = "0"; // first what this consumer was given before and did not acknowledge, then what is new
  while (!stopping && !(Number(count) && printed >= Number(count))) {
    try {
      const answer = await redis.xReadGroup(GROUP, "me", { key, id: position }, { COUNT: 100, BLOCK: 2000 });
      const entries = answer?.[0].messages ?? [];
      const handled = [];
      for (const { id, message } of entries) {
        // An entry that was trimmed before it was acknowledged comes back without fields.
        if (!message || Object.keys(message).length === 0) console.log(id.toString(), "was trimmed unread");
        else if (handle(id.toString(), recordOf(message))) printed += 1;
        handled.push(id);
        if (Number(count) && printed >= Number(count)) break;
      }
      if (handled.length) await redis.xAck(key, GROUP, handled);
      else position = ">";
    } catch (error) {
      if (redis.isReady) throw error;
      // The server is away: after it is back, what was not acknowledged comes first again.
      position = "0";
      await sleep(500);
    }
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  clearInterval(renewal);
  await call({ op: "unsubscribe" }, 5000).catch(() => {});
  await Promise.allSettled([redis.close(), commands.close()]);
}
