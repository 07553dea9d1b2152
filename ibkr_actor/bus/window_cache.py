"""The cache of finished windows of history: bounded by bytes, what was used longest ago goes first.

Knows no bar and no job. Redis away, slow or full means that a window is missing, never that anyone waits.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import anyio

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.connection import Link, Refused, Script, Unreachable, Word
from ibkr_actor.bus.epoch import FENCE, raise_if_fenced
from ibkr_actor.bus.health import Backoff
from ibkr_actor.bus.run_connected import run_connected
from ibkr_actor.core.messages import WindowFound, WindowMissing
from ibkr_actor.schema.keys import Keys

log = logging.getLogger(__name__)

WindowWord = WindowFound | WindowMissing

# What the server needs for a field of a hash and a member of a sorted set besides their bytes.
ENTRY_BYTES: Final = 200
# Questions and writes that wait for the server. A window may be a megabyte.
LOOKUPS_MAX: Final = 1_000
STORES_MAX: Final = 32
_BATCH: Final = 16
_ANSWER_TIMEOUT_S: Final = 1.0

# KEYS: epoch, windows, windows:used. ARGV: epoch, ms, name.
LOOK_UP: Final = Script(
    FENCE
    + """
local value = call('HGET', KEYS[2], ARGV[3])
if not value then return false end
call('ZADD', KEYS[3], ARGV[2], ARGV[3])
return {value}
"""
)

# Answers how many windows had to go. Windows that the set of uses does not know are nobody's: all is begun anew.
# KEYS: epoch, windows, windows:used, windows:bytes. ARGV: epoch, ms, name, value, most bytes, bytes of an entry.
STORE: Final = Script(
    FENCE
    + """
local each = tonumber(ARGV[6])
local function size(name)
  local length = call('HSTRLEN', KEYS[2], name)
  if length == 0 then return 0 end
  return length + #name + each
end

local most, total = tonumber(ARGV[5]), tonumber(call('GET', KEYS[4]) or 0)
if #ARGV[4] + #ARGV[3] + each > most then return 0 end
total = total - size(ARGV[3])
call('HSET', KEYS[2], ARGV[3], ARGV[4])
call('ZADD', KEYS[3], ARGV[2], ARGV[3])
total = total + size(ARGV[3])
local gone = 0
while total > most do
  local oldest = call('ZRANGE', KEYS[3], 0, 0)[1]
  if not oldest then
    call('DEL', KEYS[2])
    total = 0
    break
  end
  total = total - size(oldest)
  call('HDEL', KEYS[2], oldest)
  call('ZREM', KEYS[3], oldest)
  gone = gone + 1
end
call('SET', KEYS[4], total)
return gone
"""
)

SCRIPTS: Final = (LOOK_UP, STORE)


class WindowCache:
    """Windows by name, in a hash with a bound. Every `look_up` is answered once by `tell`."""

    def __init__(
        self,
        link: Link,
        config: BusConfig,
        epoch: int,
        *,
        tell: Callable[[WindowWord], None],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        keys = Keys(config.prefix, config.gateway)
        self._link = link
        self._redis = config.redis
        self._bytes_max = config.retention.history_cache_bytes
        self._epoch = epoch
        self._tell = tell
        self._now_ns = now_ns
        self._names: list[Word] = [keys.epoch, keys.windows, f"{keys.windows}:used", f"{keys.windows}:bytes"]
        self._lookups: deque[str] = deque()
        self._stores: deque[tuple[str, bytes]] = deque()
        self._wake = anyio.Event()
        self._counts = {"found": 0, "missing": 0, "stored": 0, "evicted": 0, "not_stored": 0}

    def counters(self) -> dict[str, int | float | str | None]:
        return {f"windows_{name}": count for name, count in self._counts.items()}

    def look_up(self, name: str) -> None:
        """Asks for a window; one too many, or while Redis is away, is missing at once."""
        if not self._link.is_open or len(self._lookups) >= LOOKUPS_MAX:
            self._missing(name)
            return
        self._lookups.append(name)
        self._wake.set()

    def store(self, name: str, value: bytes) -> None:
        """Keeps a window. When too many wait, the oldest of them is not kept."""
        if not self._bytes_max or not self._link.is_open:
            self._counts["not_stored"] += 1
            return
        if len(self._stores) >= STORES_MAX:
            self._stores.popleft()
            self._counts["not_stored"] += 1
        self._stores.append((name, value))
        self._wake.set()

    async def run(self) -> None:
        """Works until cancelled.

        Raises:
            Fenced: a newer sidecar publishes for this gateway.
        """
        backoff = Backoff(self._redis)

        async def work() -> NoReturn:
            if not self._bytes_max:
                await self._link.call("UNLINK", *self._names[1:])
            backoff.reset()
            while True:
                await self._serve()
                self._wake = anyio.Event()
                await self._wake.wait()

        await run_connected(self._link, backoff, work, on_trouble=self._give_up)

    async def _serve(self) -> None:
        """All questions first: someone waits for them."""
        while self._lookups or self._stores:
            if self._lookups:
                await self._ask([self._lookups[n] for n in range(min(_BATCH, len(self._lookups)))])
            else:
                await self._put(*self._stores.popleft())

    async def _ask(self, names: Sequence[str]) -> None:
        now_ms = self._now_ns() // 1_000_000
        calls = [LOOK_UP.call(self._names[:3], [self._epoch, now_ms, name]) for name in names]
        answers = await self._link.pipeline(calls, _ANSWER_TIMEOUT_S)
        for answer in answers:
            name = self._lookups.popleft()
            raise_if_fenced(answer)
            if isinstance(answer, list):
                self._counts["found"] += 1
                self._tell(WindowFound(name, answer[0]))
            else:
                self._missing(name)

    async def _put(self, name: str, value: bytes) -> None:
        args: list[Word] = [self._epoch, self._now_ns() // 1_000_000, name, value, self._bytes_max, ENTRY_BYTES]
        answer = (await self._link.pipeline([STORE.call(self._names, args)], _ANSWER_TIMEOUT_S * 5))[0]
        raise_if_fenced(answer)
        if isinstance(answer, int):
            self._counts["stored"] += 1
            self._counts["evicted"] += answer
        else:
            self._counts["not_stored"] += 1
            log.debug("window_not_stored error=%s", answer)

    def _missing(self, name: str) -> None:
        self._counts["missing"] += 1
        self._tell(WindowMissing(name))

    def _give_up(self, error: Unreachable | Refused) -> None:
        log.debug("window_cache_waits reason=%s", error)
        self._counts["not_stored"] += len(self._stores)
        self._stores.clear()
        while self._lookups:
            self._missing(self._lookups.popleft())
