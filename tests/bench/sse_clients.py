"""Many clients of the HTTP service in one process: each reads its stream as bytes and counts the quotes in it.

Usage: python -m tests.bench.sse_clients PORT CLIENTS INSTRUMENTS
"""

from __future__ import annotations

import sys

import anyio
import anyio.to_thread

from tests.bench import child
from tests.bench.quotes import symbol

EVENT = b"event: quote\n"


async def read(port: int, clients: int, instruments: int) -> None:
    """Says `ready` when all streams have begun, and after the word `stop` `done` with the quotes of each client."""
    counts = [0] * clients
    begun = 0
    path = f"/api/v1/stream/quotes?symbols={','.join(symbol(place) for place in range(instruments))}"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with anyio.create_task_group() as tasks:

        async def one(place: int) -> None:
            nonlocal begun
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(request)
                head = await stream.receive()
                if not head.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(head.decode(errors="replace"))
                begun += 1
                if begun == clients:
                    child.say("ready")
                while True:
                    # An event's first line cut in two by a piece's end is not counted: one in thousands.
                    counts[place] += (await stream.receive(1 << 18)).count(EVENT)

        for place in range(clients):
            tasks.start_soon(one, place)
        await anyio.to_thread.run_sync(child.wait_for, "stop")
        tasks.cancel_scope.cancel()
    child.say("done", quotes=sum(counts), fewest=min(counts), cpu_s=child.cpu_s())
    child.wait_for("end")


if __name__ == "__main__":
    child.listen()
    anyio.run(read, int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
