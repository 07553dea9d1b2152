"""redis-py alone: the same payloads, made ahead, through a pipeline of XADD.

Usage: python -m tests.bench.redis_peer URL TICKS INSTRUMENTS
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

from redis import Redis

from ibkr_actor.schema.codec import encode_msgpack
from tests.bench import child
from tests.bench.quotes import quote, stream_key

BATCH = 500


def write(url: str, ticks: int, instruments: int) -> None:
    """Says `ready`, and after the word `go` `done`. No MAXLEN, no last value: less work than the sidecar's write."""
    redis = Redis.from_url(url)
    redis.ping()
    keys = [stream_key(place) for place in range(instruments)]
    prepared: list[tuple[str, Any]] = []
    for index in range(ticks):
        number, place = divmod(index, instruments)
        prepared.append((keys[place], {"d": encode_msgpack(quote(place, number + 1))}))
    gc.disable()
    child.say("ready")
    child.wait_for("go")
    cpu_s, began_s = child.cpu_s(), time.perf_counter()
    pipe = redis.pipeline(transaction=False)
    for first in range(0, ticks, BATCH):
        for key, fields in prepared[first : first + BATCH]:
            pipe.xadd(key, fields)
        pipe.execute()
    child.say("done", ticks=ticks, seconds=time.perf_counter() - began_s, cpu_s=child.cpu_s() - cpu_s)
    child.wait_for("end")


if __name__ == "__main__":
    child.listen()
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
