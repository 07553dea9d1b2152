"""The skeleton of a strategy that knows when not to act: python examples/strategy.py [INSTRUMENT...] [--seconds N].

It follows the mid price of each instrument with two averages and prints when they cross. What matters is the rest: it
begins with the present value and misses nothing after it; it forgets what it has learnt when records are missing or the
sidecar was started anew; and it stays silent while a quote is stale. It places no order, and neither could the sidecar.
IBKR_REDIS_URL names the server.
"""

import argparse
import contextlib
import os
from dataclasses import dataclass
from typing import Any

import anyio

from ibkr_actor.client import Client, Item, MarketDataError, Missed, Refused, as_datetime
from ibkr_actor.schema.records import FEED_LIVE, End, Gap, Quote, Reset

# A quote that is older than this is no ground to act on. A liquid stock has a few a second.
STALE_AFTER_S = 7.0
FAST, SLOW = 0.2, 0.02
WARM_AFTER = 20


@dataclass
class Model:
    """What is known of one instrument. `seen` counts quotes since the last interruption."""

    fast: float = 0.0
    slow: float = 0.0
    seen: int = 0
    position: str = "flat"
    stale: bool = True
    newest_s: float = 0.0

    def interrupted(self) -> None:
        """Records are missing: averages over the hole would be averages of two different times."""
        self.seen = 0

    def take(self, mid: float) -> str | None:
        """The next mid price; returns a decision when it changes."""
        self.fast = mid if not self.seen else self.fast + FAST * (mid - self.fast)
        self.slow = mid if not self.seen else self.slow + SLOW * (mid - self.slow)
        self.seen += 1
        wanted = "long" if self.fast > self.slow else "short"
        if self.seen < WARM_AFTER or self.stale or wanted == self.position:
            return None
        self.position = wanted
        return wanted


def handle(item: Item[Any], model: Model) -> None:
    match item.record:
        case Quote(feed=feed, bid=bid, ask=ask) as quote:
            model.newest_s = anyio.current_time()
            # Delayed and frozen data are data, but nothing to trade on; so is a quote with one side only.
            model.stale = feed != FEED_LIVE
            if bid is None or ask is None or bid <= 0 or ask < bid:
                return
            decision = model.take((bid + ask) / 2)
            if decision is not None:
                print(f"{as_datetime(quote.received_ns)} {item.instrument}: {decision} at {bid} / {ask}", flush=True)
        case Gap(cause=cause, lost=lost):
            print(f"{item.instrument}: gap ({cause}), lost {lost}: learning anew", flush=True)
            model.interrupted()
        case Missed(lost=lost):
            print(f"{item.instrument}: this program was too slow by {lost} records: learning anew", flush=True)
            model.interrupted()
        case Reset(reason=reason):
            print(f"{item.instrument}: reset ({reason}): learning anew", flush=True)
            model.interrupted()
        case End(reason=reason):
            print(f"{item.instrument}: the line was given back ({reason})", flush=True)
            model.stale = True
        case Refused(error=error):
            print(f"{item.instrument}: {error}", flush=True)
            model.stale = True


async def watch_age(models: dict[str, Model]) -> None:
    """Silence sends no record, so somebody has to look at the clock."""
    while True:
        await anyio.sleep(0.5)
        for instrument, model in models.items():
            if not model.stale and anyio.current_time() - model.newest_s > STALE_AFTER_S:
                print(f"{instrument}: nothing for {STALE_AFTER_S:g} s: no decisions until it is back", flush=True)
                model.stale = True


async def main(instruments: list[str], seconds: float) -> None:
    models: dict[str, Model] = {}
    async with (
        Client(os.environ.get("IBKR_REDIS_URL", "redis://127.0.0.1:6379/0")) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(watch_age, models)
        with anyio.move_on_after(seconds or None):
            # From the last value on, which may be of long ago: the first quote says when it came.
            try:
                async for item in client.quotes(*instruments, refused="yield"):
                    handle(item, models.setdefault(item.instrument, Model()))
            except MarketDataError as error:
                print(error, flush=True)
        tasks.cancel_scope.cancel()
    for instrument, model in models.items():
        print(f"{instrument}: {model.seen} quotes since the last interruption, {model.position}", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("instruments", nargs="*", default=["AAPL", "EUR.CASH.IDEALPRO.USD"])
parser.add_argument("--seconds", type=float, default=0.0, help="how long (default: Ctrl-C)")
arguments = parser.parse_args()
with contextlib.suppress(KeyboardInterrupt):
    anyio.run(main, arguments.instruments, arguments.seconds)
