"""A consumer as a process of its own: holds quotes, says so on standard output, and reads on until it is killed."""

import sys

import anyio

from ibkr_actor.client import Client


async def main() -> None:
    url, lease_s, instrument = sys.argv[1:]
    async with Client(url, client="doomed", lease_s=float(lease_s)) as client:
        async for item in client.quotes(instrument):
            sys.stdout.write(f"{item.id}\n")
            sys.stdout.flush()


anyio.run(main)
