"""Quotes of an instrument, with all that can happen to them: python examples/read_quotes.py [INSTRUMENT] [COUNT].

IBKR_REDIS_URL names the server. Prints COUNT quotes (default: for ever); the line is given back at the end.
"""

import os
import sys

import anyio

from ibkr_actor.client import Client, Missed
from ibkr_actor.schema.records import End, Gap, Quote, Reset


async def main(instrument: str = "AAPL", count: str = "0") -> None:
    printed = 0
    async with Client(os.environ.get("IBKR_REDIS_URL", "redis://127.0.0.1:6379/0")) as client:
        async for item in client.quotes(instrument):
            match item.record:
                case Quote(bid=bid, ask=ask, last=last):
                    print(item.id, item.instrument, bid, ask, last, flush=True)
                    printed += 1
                    if printed == int(count):
                        break
                case Gap(cause=cause, lost=lost):
                    print(item.id, f"gap ({cause}): {'an unknown number of' if lost is None else lost} records missing")
                case Missed(lost=lost):
                    print(item.id, f"too slow: {lost} records were trimmed unread")
                case Reset(reason=reason, epoch=epoch):
                    print(item.id, f"reset ({reason}): a new term of publishing, epoch {epoch}")
                case End(reason=reason):
                    print(item.id, f"end ({reason}): the line was given back")


anyio.run(main, *sys.argv[1:])
