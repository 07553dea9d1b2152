// Owns what @stoqey/ib sees. Must not judge; asked.py tells the call and the answer, which are the same for every client.
"use strict";

const { IBApi, EventName } = require("@stoqey/ib");
const ASKED = require("./asked.json");

const NAMES = Object.keys(ASKED.contracts);
const LINES = Object.keys(ASKED.level1);
const CHAINS = Object.keys(ASKED.chains);
const BARS = Object.keys(ASKED.bars);
const KINDS = ["size", "string", "generic", "parameters", "option OPT", "option FOP", "news", ...ASKED.tick_by_tick, "5 s bar"];
const [LEVEL1, BAR, DEPTH, SMART_DEPTH, STREAM] = [100, 120, 121, 122, 130];
const [BARS_ID, TICKS_ID, KEPT, HEAD, HISTOGRAM, SCHEDULE, SYMBOLS, CHAIN] = [200, 210, 220, 221, 222, 223, 224, 230];
const PRICES = { 1: "bid", 2: "ask", 4: "last" };
const SCHEDULE_VERSION = 165;

function emptyFacts(port) {
  return {
    port, version: 0, accounts: "", contracts: {}, prices: {}, seen: {}, depth: {}, smart_depth: {}, updates: 0, late: -1,
    errors: [],
  };
}

// Every event into the facts; `state` holds what only the conversation needs.
function listen(ib, facts, state) {
  const on = (event, handler) => ib.on(event, (...values) => (handler(...values), state.check()));
  const onData = (event, handler) => on(event, (...values) => ((state.data += 1), handler(...values)));
  const first = (name, value) => (facts.seen[name] ??= value);
  const row = (book, side, position, price) => ((book[side === 1 ? "bid" : "ask"] ??= {})[position] = price);
  const stream = (reqId, values) => first(ASKED.tick_by_tick[reqId - STREAM], values.map(Number));
  const past = (reqId, rows) => (first(`ticks ${ASKED.ticks[reqId - TICKS_ID]}`, rows), state.ended.add(reqId));

  on(EventName.error, (error, code, reqId) => {
    if (![2104, 2106, 2158].includes(code)) facts.errors.push([reqId, code, error.message]);
  });
  on(EventName.managedAccounts, (accounts) => (facts.accounts = accounts));
  on(EventName.currentTime, () => (state.rounds += 1));

  const details = (reqId, found) => {
    facts.contracts[NAMES[reqId]] ??= {
      con_id: found.contract.conId, min_tick: found.minTick, long_name: found.longName || found.descAppend || "",
      hours: found.tradingHours ?? "", count: 0,
    };
    facts.contracts[NAMES[reqId]].count += 1;
  };
  on(EventName.contractDetails, details);
  on(EventName.bondContractDetails, details);
  on(EventName.contractDetailsEnd, (reqId) => state.ended.add(reqId));
  on(EventName.securityDefinitionOptionParameter, (reqId, exchange, conId, name, multiplier, dates, strikes) => {
    const symbol = CHAINS[reqId - CHAIN];
    const [, , underlying, wanted] = ASKED.chains[symbol];
    const found = [[...dates].sort(), [...strikes].map(Number).sort((a, b) => a - b)];
    if (conId === underlying && exchange === wanted) first(`chain ${symbol}`, found);
  });
  on(EventName.securityDefinitionOptionParameterEnd, (reqId) => state.ended.add(reqId));
  on(EventName.symbolSamples, (_, found) => first("symbols", found.map((each) => each.contract.conId)));
  on(EventName.marketRule, (rule, steps) =>
    first("market rule", [rule, ...steps.map((step) => [step.lowEdge, step.increment])]));

  onData(EventName.tickPrice, (reqId, type, price) => {
    if (type in PRICES) (facts.prices[LINES[reqId - LEVEL1]] ??= {})[PRICES[type]] = price;
  });
  onData(EventName.tickSize, (_, type, size) => type === 0 && first("size", size));
  onData(EventName.tickString, (_, type, text) => type === 48 && first("string", Number(text.split(";")[3])));
  onData(EventName.tickGeneric, (_, type, value) => [46, 54].includes(type) && first("generic", value));
  on(EventName.tickReqParams, (reqId, minTick, bbo) => reqId === LEVEL1 && first("parameters", [minTick, bbo]));
  onData(EventName.tickOptionComputation, (reqId, type, attribute, ...values) => {
    const [volatility, delta, price, , gamma, vega, theta, underlying] = values;
    const found = [volatility, delta, price, gamma, vega, theta, underlying];
    if (type === 13 && found.every((value) => value !== undefined)) first(`option ${LINES[reqId - LEVEL1]}`, found);
  });
  on(EventName.tickNews, (_, time, provider, article, text) => first("news", [time, provider, article, text]));

  onData(EventName.tickByTickAllLast, (reqId, type, time, price, size) => stream(reqId, [type, time, price, size]));
  onData(EventName.tickByTickBidAsk, (reqId, ...values) => stream(reqId, values.slice(0, 5)));
  onData(EventName.tickByTickMidPoint, (reqId, ...values) => stream(reqId, values));
  onData(EventName.realtimeBar, (_, ...values) => first("5 s bar", values.slice(0, 5)));
  onData(EventName.updateMktDepth, (_, at, operation, side, price) => row(facts.depth, side, at, price));
  onData(EventName.updateMktDepthL2, (_, at, maker, operation, side, price) => row(facts.smart_depth, side, at, price));

  on(EventName.historicalData, (reqId, time, open, high, low, close, volume) => {
    if (String(time).startsWith("finished")) state.ended.add(reqId);
    else if (reqId !== KEPT) (facts.seen[BARS[reqId - BARS_ID]] ??= []).push([time, open, high, low, close, volume]);
  });
  onData(EventName.historicalDataUpdate, (_, time, open, high, low, close) => {
    facts.updates += 1;
    first("update", [time, open, high, low, close]);
  });
  on(EventName.historicalTicksLast, (reqId, ticks) => past(reqId, ticks.map((t) => [t.time, t.price, t.size])));
  on(EventName.historicalTicksBidAsk, (reqId, ticks) => past(reqId, ticks.map((t) => [t.time, t.priceBid, t.priceAsk])));
  on(EventName.historicalTicks, (reqId, ticks) => past(reqId, ticks.map((t) => [t.time, t.price])));
  on(EventName.headTimestamp, (reqId, stamp) => (first("head", stamp), state.ended.add(reqId)));
  on(EventName.histogramData, (reqId, items) => {
    first("histogram", items.map((item) => [item.price, item.size ?? item.count]));
    state.ended.add(reqId);
  });
  on(EventName.historicalSchedule, (reqId, start, end, zone, sessions) => {
    first("schedule", [zone, ...sessions.map((session) => session.refDate)]);
    state.ended.add(reqId);
  });
}

const complete = (facts) =>
  KINDS.every((name) => name in facts.seen) &&
  LINES.every((name) => name in facts.prices) &&
  Object.keys(facts.prices.STK).length === Object.keys(PRICES).length &&
  facts.updates >= ASKED.updates &&
  [facts.depth, facts.smart_depth].every((book) =>
    ["ask", "bid"].every((side) => Object.keys(book[side] ?? {}).length === ASKED.depth_rows));

// The option chain, then every contract; gives them by name.
async function resolve(ib, facts, state) {
  CHAINS.forEach((symbol, n) => {
    const [exchange, secType, conId] = ASKED.chains[symbol];
    ib.reqSecDefOptParams(CHAIN + n, symbol, exchange, secType, conId);
  });
  ib.reqMatchingSymbols(SYMBOLS, "AAPL");
  ib.reqMarketRule(ASKED.market_rule);
  await state.wait(() => CHAINS.every((_, n) => state.ended.has(CHAIN + n)) && "symbols" in facts.seen && "market rule" in facts.seen);
  const wanted = structuredClone(ASKED.contracts);
  wanted[ASKED.expiry].lastTradeDateOrContractMonth = facts.seen["chain AAPL"]?.[0][2];
  NAMES.forEach((name, reqId) => ib.reqContractDetails(reqId, wanted[name]));
  await state.wait(() => NAMES.every((_, reqId) => state.ended.has(reqId)));
  wanted.FUT.conId = facts.contracts.FUT?.con_id;
  const legs = ASKED.legs.map((conId, n) => ({ conId, ratio: 1, action: n ? "SELL" : "BUY", exchange: "SMART" }));
  wanted.BAG = { ...wanted.STK, secType: "BAG", comboLegs: legs };
  return wanted;
}

// Everything historical that has an end.
async function past(ib, facts, state, apple) {
  const wanted = [HEAD, HISTOGRAM];
  Object.values(ASKED.bars).forEach(([duration, size, view, form], n) => {
    ib.reqHistoricalData(BARS_ID + n, apple, "", duration, size, view, true, form, false);
    wanted.push(BARS_ID + n);
  });
  ASKED.ticks.forEach((view, n) => {
    ib.reqHistoricalTicks(TICKS_ID + n, apple, "20260105-15:00:00", "", 10, view, true, false);
    wanted.push(TICKS_ID + n);
  });
  ib.reqHeadTimestamp(HEAD, apple, "TRADES", true, 2);
  ib.reqHistogramData(HISTOGRAM, apple, true, 3, "DAY");
  if (facts.version >= SCHEDULE_VERSION) {
    ib.reqHistoricalData(SCHEDULE, apple, "", "5 D", "1 day", "SCHEDULE", true, 1, false);
    wanted.push(SCHEDULE);
  }
  await state.wait(() => wanted.every((reqId) => state.ended.has(reqId)));
  ib.cancelHeadTimestamp(HEAD);
}

function subscribe(ib, contracts, stocks) {
  LINES.forEach((name, n) => ib.reqMktData(LEVEL1 + n, contracts[name], ASKED.level1[name], false, false));
  ib.reqRealTimeBars(BAR, contracts.STK, 5, "TRADES", false);
  ib.reqMktDepth(DEPTH, stocks[0], ASKED.depth_rows, false);
  ib.reqMktDepth(SMART_DEPTH, stocks[1], ASKED.depth_rows, true);
  ASKED.tick_by_tick.forEach((kind, n) => ib.reqTickByTickData(STREAM + n, stocks[n], kind, 0, false));
  ib.reqHistoricalData(KEPT, contracts.STK, "", "1 D", "1 min", "TRADES", false, 2, true);
}

function cancel(ib) {
  LINES.forEach((_, n) => ib.cancelMktData(LEVEL1 + n));
  ib.cancelRealTimeBars(BAR);
  ib.cancelMktDepth(DEPTH, false);
  ib.cancelMktDepth(SMART_DEPTH, true);
  ASKED.tick_by_tick.forEach((_, n) => ib.cancelTickByTickData(STREAM + n));
  ib.cancelHistoricalData(KEPT);
}

function probe(port, clientId, symbols) {
  const facts = emptyFacts(port);
  const ib = new IBApi({ host: "127.0.0.1", port });
  const state = { ended: new Set(), data: 0, rounds: 0, waiter: null };
  state.check = () => state.waiter?.found() && state.waiter.done();
  state.wait = (found) =>
    new Promise((done) => {
      const timer = setTimeout(() => state.waiter.done(), ASKED.patience_s * 1000);
      state.waiter = { found, done: () => (clearTimeout(timer), (state.waiter = null), done()) };
      state.check();
    });
  listen(ib, facts, state);

  const converse = async () => {
    ib.connect(clientId);
    await state.wait(() => facts.accounts !== "");
    facts.version = ib.serverVersion;
    const contracts = await resolve(ib, facts, state);
    await past(ib, facts, state, contracts.STK);
    subscribe(ib, contracts, symbols.map((symbol) => ({ ...ASKED.contracts.STK, symbol })));
    await state.wait(() => complete(facts));
    cancel(ib);
    ib.reqCurrentTime();
    await state.wait(() => state.rounds > 0);
    if (state.rounds > 0) {
      const before = state.data;
      await new Promise((resolve) => setTimeout(resolve, ASKED.silence_s * 1000));
      facts.late = state.data - before;
    }
  };
  return converse().finally(() => {
    ib.disconnect();
    console.log(JSON.stringify(facts));
  });
}

const [clientId, symbols, ...ports] = process.argv.slice(2);
Promise.all(ports.map((port) => probe(Number(port), Number(clientId), symbols.split(",")))).then(() => process.exit(0));
