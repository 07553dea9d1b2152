"""Subscribe to quotes with a lease and print the reply: python examples/subscribe.py [INSTRUMENT] [REDIS_URL]."""

import sys

import anyio

from ibkr_actor.client import call, connect
from ibkr_actor.schema.commands import Subscribe
from ibkr_actor.schema.keys import Keys


async def main(instrument: str = "AAPL", url: str = "redis://127.0.0.1:6379/0") -> None:
    async with connect(url) as redis:
        command = Subscribe(client="example", instrument=instrument, kinds=["quote"], lease_s=60)
        reply = await call(redis, Keys(), command)
        print(reply.status, reply.streams or reply.error)


anyio.run(main, *sys.argv[1:])
