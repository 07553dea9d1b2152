"""The epoch, and the heartbeat that tells who publishes.

The epoch is taken here once at start; that it is still ours is checked inside every write.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.bus.connection import Link, Script
from ibkr_actor.errors import Fenced
from ibkr_actor.schema.keys import Keys

# The beginning of every script that writes for us. KEYS[1] is the epoch's key, ARGV[1] our epoch. A missing key is not
# set here: the publisher must find it missing, to know that the server lost data.
FENCE: Final = """
local pcall, call = redis.pcall, redis.call
local stored = call('GET', KEYS[1])
if stored and (tonumber(stored) or 0) > tonumber(ARGV[1]) then return 'FENCED' end
"""

# max(stored + 1, TIME in seconds): it never repeats, not even after FLUSHALL or a stale snapshot.
TAKE: Final = Script("""
local stored = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
local now = tonumber(redis.call('TIME')[1])
local epoch = string.format('%.0f', math.max(stored + 1, now))
redis.call('SET', KEYS[1], epoch)
return epoch
""")

# KEYS: epoch, heartbeat, metrics. ARGV: epoch, value of the heartbeat, milliseconds, value of the metrics.
BEAT: Final = Script(
    FENCE
    + """
call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
call('SET', KEYS[3], ARGV[4], 'PX', ARGV[3])
return 'OK'
"""
)

# Both go only if nobody newer writes them. KEYS as above. ARGV: epoch.
STOP: Final = Script("""
local stored = redis.call('GET', KEYS[1])
if stored == ARGV[1] then redis.call('DEL', KEYS[2], KEYS[3]) end
return 'OK'
""")


def raise_if_fenced(answer: object) -> None:
    """Looks at the answer of a script that begins with `FENCE`.

    Raises:
        Fenced: a newer sidecar publishes for this gateway.
    """
    if answer in (b"FENCED", "FENCED"):
        raise Fenced("a newer sidecar publishes for this gateway")


async def take_epoch(link: Link, keys: Keys) -> int:
    """Takes the next epoch: from now on every write of an older one is refused. A lost answer costs a number, no more.

    Raises:
        Refused, Unreachable: no epoch was taken for certain; try again.
    """
    return int(await link.call(*TAKE.call([keys.epoch])))
