"""Several kinds of several instruments in one loop: python examples/subscribe.py INSTRUMENT... [--count N].

IBKR_REDIS_URL names the server. Prints at most ten records a second of each stream, and how many were left out before.
"""

import argparse
import os

import anyio

from ibkr_actor.client import Client, MarketDataError


async def main(instruments: list[str], count: int) -> None:
    printed = 0
    async with Client(os.environ.get("IBKR_REDIS_URL", "redis://127.0.0.1:6379/0")) as client:
        async for item in client.stream(["quote", "trade"], *instruments, conflate_s=0.1):
            print(item.kind, item.instrument, item.record, f"({item.conflated} left out)", flush=True)
            printed += 1
            if printed == count:
                break


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("instruments", nargs="*", default=["AAPL", "MSFT"])
parser.add_argument("--count", type=int, default=0)
arguments = parser.parse_args()
try:
    anyio.run(main, arguments.instruments, arguments.count)
except MarketDataError as error:
    raise SystemExit(str(error)) from None
