"""ib_async with a redis-py pipeline: what one would write without a sidecar, in two ways.

`asyncio`: the handler of `pendingTickersEvent` makes the records, one task writes them with redis.asyncio, 500 to a
pipeline, with the records and the retention of the sidecar: ib_async's loop goes on meanwhile. `blocking`: the leanest
that can be written: a pipeline of plain redis-py inside the handler, the barest record, no retention.
Every tick is one XADD in both, since `Ticker.ticks` holds all of an update.

Usage: python -m tests.bench.ib_async_peer asyncio|blocking PORT URL TICKS INSTRUMENTS
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque

import ib_async
import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from ibkr_actor.schema.records import Quote
from tests.bench import child
from tests.bench.checker import ASK, BID
from tests.bench.quotes import stream_key, symbol

BATCH = 500
CLIENT_ID = 7
MAXLEN = 10_000


class Writer:
    """What both have. `done` is set when all ticks are written."""

    def __init__(self, ticks: int, instruments: int) -> None:
        self.done = asyncio.Event()
        self.began_s = self.ended_s = 0.0
        self.written = 0
        self.encode = msgspec.msgpack.Encoder().encode
        # Symbol -> stream key.
        self.keys = {symbol(place): stream_key(place) for place in range(instruments)}
        self._ticks = ticks

    def handle(self, tickers: set[ib_async.Ticker]) -> None:
        """The ticks of one update."""
        raise NotImplementedError

    def count(self, written: int) -> None:
        self.written += written
        if self.written >= self._ticks:
            self.ended_s = time.time()
            self.done.set()

    def begin(self, ticker: ib_async.Ticker) -> None:
        if not self.began_s and ticker.ticks:
            self.began_s = ticker.timestamp or 0.0


class Blocking(Writer):
    """Nothing else runs while a pipeline is under way, and nothing is lost by that: the kernel holds the rest."""

    def __init__(self, url: str, ticks: int, instruments: int) -> None:
        super().__init__(ticks, instruments)
        self._pipe = Redis.from_url(url).pipeline(transaction=False)

    def handle(self, tickers: set[ib_async.Ticker]) -> None:
        pipe, encode, before = self._pipe, self.encode, self.written
        for ticker in tickers:
            self.begin(ticker)
            assert ticker.contract is not None
            con_id, key = ticker.contract.conId, self.keys[ticker.contract.symbol]
            received_ns = int((ticker.timestamp or 0) * 1e9)
            for tick in ticker.ticks:
                record = ("tick", con_id, received_ns, tick.tickType, tick.price, tick.size)
                pipe.xadd(key, {"d": encode(record)})
                if len(pipe) >= BATCH:
                    pipe.execute()
            before += len(ticker.ticks)
        if len(pipe):
            pipe.execute()
        self.count(before - self.written)


class Asyncio(Writer):
    """A queue between ib_async and one writing task, so that order holds and the loop is never blocked."""

    def __init__(self, url: str, ticks: int, instruments: int) -> None:
        super().__init__(ticks, instruments)
        self._redis = AsyncRedis.from_url(url)
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._wake = asyncio.Event()
        self._quotes: dict[str, Quote] = {}
        self._task = asyncio.create_task(self._write())

    def handle(self, tickers: set[ib_async.Ticker]) -> None:
        waiting, encode = self._waiting, self.encode
        for ticker in tickers:
            self.begin(ticker)
            assert ticker.contract is not None
            key = self.keys[ticker.contract.symbol]
            quote = self._quotes.get(key)
            if quote is None:
                con_id = ticker.contract.conId
                quote = Quote(1, 0, con_id, 0, None, 1, 0, None, None, None, None, None, None, None, 0)
                self._quotes[key] = quote
            quote.received_ns = int((ticker.timestamp or 0) * 1e9)
            for tick in ticker.ticks:
                _merge(quote, tick)
                waiting.append((key, encode(quote)))
        self._wake.set()

    async def _write(self) -> None:
        waiting = self._waiting
        while True:
            if not waiting:
                self._wake.clear()
                await self._wake.wait()
            pipe = self._redis.pipeline(transaction=False)
            count = min(len(waiting), BATCH)
            for _ in range(count):
                key, payload = waiting.popleft()
                pipe.xadd(key, {"d": payload}, maxlen=MAXLEN, approximate=True)
            await pipe.execute()
            self.count(count)


def _merge(quote: Quote, tick: ib_async.TickData) -> None:
    """The next record of the stream, in place."""
    quote.seq += 1
    quote.changed = tick.tickType
    if tick.tickType == BID:
        quote.bid, quote.bid_size = tick.price, f"{tick.size:.12g}"
    elif tick.tickType == ASK:
        quote.ask, quote.ask_size = tick.price, f"{tick.size:.12g}"


async def run(way: str, port: int, url: str, ticks: int, instruments: int) -> None:
    """Says `ready` once everything is asked for, and `done` when every tick is written."""
    ib = ib_async.IB()
    await ib.connectAsync("127.0.0.1", port, clientId=CLIENT_ID, timeout=10)
    writer = Blocking(url, ticks, instruments) if way == "blocking" else Asyncio(url, ticks, instruments)
    ib.pendingTickersEvent += writer.handle
    stocks = [ib_async.Stock(symbol(place), "SMART", "USD") for place in range(instruments)]
    await ib.qualifyContractsAsync(*stocks)
    for stock in stocks:
        ib.reqMktData(stock, "", False, False)
    child.say("ready", server_version=ib.client.serverVersion())
    await asyncio.to_thread(child.wait_for, "go")
    cpu_s = child.cpu_s()
    await writer.done.wait()
    child.say("done", ticks=writer.written, seconds=writer.ended_s - writer.began_s, cpu_s=child.cpu_s() - cpu_s)
    await asyncio.to_thread(child.wait_for, "end")


if __name__ == "__main__":
    child.listen()
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
