"""Following a stream on a real server."""

import anyio
import pytest

from ibkr_actor.client import connect, follow
from ibkr_actor.schema.codec import encode_record
from ibkr_actor.schema.records import MidPoint
from tests.e2e.kit import DEADLINE_S, running_redis

pytestmark = pytest.mark.anyio


async def test_an_entry_that_someone_else_wrote_does_not_end_the_reading() -> None:
    record = MidPoint(9, 1, 2, 3, None, 1, 0, 1.5)
    async with running_redis() as server, connect(server.own_url) as redis:
        await redis.xadd("s", {"d": b"junk"}, id="1-0")
        await redis.xadd("s", {"other": "x"}, id="2-0")
        await redis.xadd("s", {"d": encode_record(record, "msgpack")}, id="3-0")
        seen = []
        with anyio.fail_after(DEADLINE_S):
            async for entry in follow(redis, "s", last=3):
                seen.append((entry.id, entry.record))
                if len(seen) == 3:
                    break
    assert seen == [("1-0", None), ("2-0", None), ("3-0", record)]
