"""A server that is killed and comes back while a publisher writes and the client reads."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from ibkr_actor.bus.publisher import Publisher
from ibkr_actor.client import Client, Feed
from ibkr_actor.client.items import AnyItem
from ibkr_actor.schema.records import Trade
from tests.bus.kit import TRADE, bus_config, embedded, kill, publishing, trades, until, written
from tests.client.kit import DEADLINE_S

pytestmark = pytest.mark.anyio

COUNT = 400


async def read(feed: Feed[AnyItem], seqs: list[int]) -> None:
    async for item in feed:
        if isinstance(item.record, Trade):
            seqs.append(item.record.seq)
            if len(seqs) == COUNT:
                return


async def publish(publisher: Publisher, count: int) -> None:
    for _ in range(count // 10):
        publisher.publish(trades(10))
        await anyio.lowlevel.checkpoint()
    await written(publisher)


async def test_a_server_killed_with_kill_9_costs_a_reader_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    plain: list[int] = []
    grouped: list[int] = []
    async with embedded(tmp_path) as server:
        config = bus_config(server.own_url)
        async with publishing(config) as publisher, Client(server.own_url) as client:
            publisher.publish(trades(1))
            await written(publisher)
            with anyio.fail_after(2 * DEADLINE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read, client.watch(TRADE, start="first"), plain)
                    tasks.start_soon(read, client.watch(TRADE, start="first", group="g", consumer="one"), grouped)
                    await until(lambda: bool(plain and grouped))
                    await publish(publisher, COUNT // 2)
                    restarts = server.restarts
                    kill(server.pid)
                    await until(lambda: server.restarts > restarts)
                    await publish(publisher, COUNT // 2)
    # The reset has seq 1.
    assert plain == list(range(2, COUNT + 2))
    assert grouped == plain
