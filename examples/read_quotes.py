"""Read quotes as a consumer group would: python examples/read_quotes.py [COUNT] [REDIS_URL].

Needs redis and msgspec only. Prints COUNT quotes of AAPL (default: for ever), and every gap on the way.
"""

import sys

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.records import Gap, Quote

KEY = "ibkr:{g1}:quote:AAPL.STK.SMART.USD"
count = int(sys.argv[1]) if len(sys.argv) > 1 else 0
url = sys.argv[2] if len(sys.argv) > 2 else "redis://127.0.0.1:6379/0"

# redis-py repeats commands by default, which makes XREADGROUP skip entries: switch it off.
r = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))
try:
    r.xgroup_create(KEY, "example", id="0", mkstream=True)
except redis.ResponseError as error:
    if not str(error).startswith("BUSYGROUP"):
        raise

printed = 0
position = "0"  # first what this consumer was given before and did not acknowledge, then what is new
while not count or printed < count:
    for _, entries in r.xreadgroup("example", "me", {KEY: position}, count=100, block=2000) or []:
        for entry_id, fields in entries:
            # An entry that was trimmed before it was acknowledged comes back empty.
            match decode_record(fields) if fields else None:
                case Quote(bid=bid, ask=ask, last=last):
                    print(entry_id.decode(), bid, ask, last)
                    printed += 1
                case Gap(cause=cause, lost=lost):
                    print(entry_id.decode(), "lost", lost, cause)
                case None:
                    print(entry_id.decode(), "was trimmed, or is newer than this version")
            r.xack(KEY, "example", entry_id)
        if not entries:
            position = ">"
