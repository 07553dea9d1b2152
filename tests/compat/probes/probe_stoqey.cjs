// Owns what @stoqey/ib sees. Must not judge; asked.py tells the call and the answer, which are the same for every client.
"use strict";

const { IBApi, EventName } = require("@stoqey/ib");

const CONTRACTS = [
  { symbol: "AAPL", secType: "STK", exchange: "SMART", currency: "USD" },
  { symbol: "BMW", secType: "STK", exchange: "SMART", currency: "EUR" },
  { symbol: "EUR", secType: "CASH", exchange: "IDEALPRO", currency: "USD" },
];
const TICK_BY_TICK = ["Last", "AllLast", "BidAsk", "MidPoint"];
const DEPTH_ROWS = 5;
const PATIENCE_MS = 20000;
const SILENCE_MS = 500;
const [LEVEL1, BAR, DEPTH, SMART_DEPTH, FIRST_TICK] = [10, 11, 12, 13, 20];
const PRICES = { 1: "bid", 2: "ask", 4: "last" };

function probe(port, clientId, symbols) {
  const facts = {
    port, version: 0, accounts: "", contracts: {}, level1: {}, ticks: {}, bar: [], depth: {}, smart_depth: {}, late: -1,
    errors: [],
  };
  const ib = new IBApi({ host: "127.0.0.1", port });
  const ended = new Set();
  let data = 0;
  let rounds = 0;
  let waiter = null;

  const check = () => {
    if (waiter && waiter.found()) waiter.done();
  };
  const wait = (found) =>
    new Promise((resolve) => {
      const timer = setTimeout(() => waiter.done(), PATIENCE_MS);
      waiter = { found, done: () => (clearTimeout(timer), (waiter = null), resolve()) };
      check();
    });
  const on = (event, handler) => ib.on(event, (...values) => (handler(...values), check()));
  const onData = (event, handler) => on(event, (...values) => ((data += 1), handler(...values)));
  const row = (book, side, position, price) => ((book[side === 1 ? "bid" : "ask"] ??= {})[position] = price);
  const tick = (reqId, values) => (facts.ticks[TICK_BY_TICK[reqId - FIRST_TICK]] ??= values.map(Number));

  on(EventName.error, (error, code, reqId) => {
    if (![2104, 2106, 2158].includes(code)) facts.errors.push([reqId, code, error.message]);
  });
  on(EventName.managedAccounts, (accounts) => (facts.accounts = accounts));
  on(EventName.currentTime, () => (rounds += 1));
  on(EventName.contractDetails, (reqId, details) => {
    facts.contracts[CONTRACTS[reqId].symbol] = {
      con_id: details.contract.conId, min_tick: details.minTick, long_name: details.longName,
      hours: details.tradingHours,
    };
  });
  on(EventName.contractDetailsEnd, (reqId) => ended.add(reqId));
  onData(EventName.tickPrice, (reqId, type, price) => type in PRICES && (facts.level1[PRICES[type]] = price));
  onData(EventName.tickSize, (reqId, type, size) => type === 0 && (facts.level1.bid_size = size));
  onData(EventName.tickString, (reqId, type, text) => {
    if (type === 48) facts.level1.rt_volume = Number(text.split(";")[3]);
  });
  onData(EventName.tickByTickAllLast, (reqId, type, time, price, size) => tick(reqId, [type, time, price, size]));
  onData(EventName.tickByTickBidAsk, (reqId, ...values) => tick(reqId, values.slice(0, 5)));
  onData(EventName.tickByTickMidPoint, (reqId, ...values) => tick(reqId, values));
  onData(EventName.realtimeBar, (reqId, ...values) => (facts.bar = values.slice(0, 5)));
  onData(EventName.updateMktDepth, (reqId, at, operation, side, price) => row(facts.depth, side, at, price));
  onData(EventName.updateMktDepthL2, (reqId, at, maker, operation, side, price) =>
    row(facts.smart_depth, side, at, price));

  const complete = () =>
    Object.keys(facts.level1).length === 5 &&
    Object.keys(facts.ticks).length === TICK_BY_TICK.length &&
    facts.bar.length > 0 &&
    [facts.depth, facts.smart_depth].every((book) =>
      ["ask", "bid"].every((side) => Object.keys(book[side] ?? {}).length === DEPTH_ROWS));

  const converse = async () => {
    ib.connect(clientId);
    await wait(() => facts.accounts !== "");
    facts.version = ib.serverVersion;
    CONTRACTS.forEach((contract, reqId) => ib.reqContractDetails(reqId, contract));
    await wait(() => ended.size === CONTRACTS.length);
    const stocks = symbols.map((symbol) => ({ symbol, secType: "STK", exchange: "SMART", currency: "USD" }));
    ib.reqMktData(LEVEL1, CONTRACTS[0], "233", false, false);
    ib.reqRealTimeBars(BAR, CONTRACTS[0], 5, "TRADES", false);
    ib.reqMktDepth(DEPTH, stocks[0], DEPTH_ROWS, false);
    ib.reqMktDepth(SMART_DEPTH, stocks[1], DEPTH_ROWS, true);
    TICK_BY_TICK.forEach((kind, n) => ib.reqTickByTickData(FIRST_TICK + n, stocks[n], kind, 0, false));
    await wait(complete);
    ib.cancelMktData(LEVEL1);
    ib.cancelRealTimeBars(BAR);
    ib.cancelMktDepth(DEPTH, false);
    ib.cancelMktDepth(SMART_DEPTH, true);
    TICK_BY_TICK.forEach((_, n) => ib.cancelTickByTickData(FIRST_TICK + n));
    ib.reqCurrentTime();
    await wait(() => rounds > 0);
    if (rounds > 0) {
      const before = data;
      await new Promise((resolve) => setTimeout(resolve, SILENCE_MS));
      facts.late = data - before;
    }
  };
  return converse().finally(() => {
    ib.disconnect();
    console.log(JSON.stringify(facts));
  });
}

const [clientId, symbols, ...ports] = process.argv.slice(2);
Promise.all(ports.map((port) => probe(Number(port), Number(clientId), symbols.split(",")))).then(() => process.exit(0));
