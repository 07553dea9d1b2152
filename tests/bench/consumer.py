"""A reader of its own process: XREADGROUP over all streams, the time of each return, and the verdict at the end.

The group is read without acknowledging (NOACK): what is measured is the way to the reader, not its book-keeping.

Usage: python -m tests.bench.consumer URL TICKS INSTRUMENTS records|numbers
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

from redis import Redis

from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.records import AnyRecord, Quote
from tests.bench import child
from tests.bench.checker import Verdict, check_numbers, check_records, number_of, percentile, share
from tests.bench.quotes import stream_key

GROUP, CONSUMER = "bench", "reader"
COUNT = 1000
BLOCK_MS = 200


def read(url: str, ticks: int, instruments: int, mode: str) -> None:
    """Says `ready`, then `done` when every tick is there or the parent said `stop`."""
    redis = Redis.from_url(url, protocol=2)
    keys = [stream_key(place).encode() for place in range(instruments)]
    for key in keys:
        redis.xgroup_create(key, GROUP, id="0", mkstream=True)
    records: dict[bytes, list[AnyRecord]] = {key: [] for key in keys}
    latencies_ns: list[int] = []
    new: Any = dict.fromkeys(keys, ">")
    gc.disable()
    child.say("ready")
    while len(latencies_ns) < ticks and not child.told():
        answer: Any = redis.xreadgroup(GROUP, CONSUMER, new, count=COUNT, block=BLOCK_MS, noack=True)
        now_ns = time.time_ns()
        for key, entries in answer:
            into = records[key]
            for _, fields in entries:
                record = decode_record(fields)
                assert record is not None
                into.append(record)
                if isinstance(record, Quote):
                    latencies_ns.append(now_ns - record.received_ns)
    verdict = Verdict()
    for place, key in enumerate(keys):
        expected = share(ticks, instruments, place)
        if mode == "records":
            verdict.add(check_records(key.decode(), records[key], expected))
        else:
            verdict.add(check_numbers([number_of(one) for one in records[key] if isinstance(one, Quote)], expected))
    ordered = sorted(ns / 1e6 for ns in latencies_ns) or [0.0]
    figures = {"p50_ms": percentile(ordered, 50), "p99_ms": percentile(ordered, 99), "max_ms": ordered[-1]}
    child.say("done", verdict=_plain(verdict), **figures)
    child.wait_for("end")


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {name: getattr(verdict, name) for name in verdict.__struct_fields__}


if __name__ == "__main__":
    child.listen()
    read(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
