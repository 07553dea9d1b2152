"""The replaced system's defects of its Redis bus, one by one, each shown not to happen here.

D28 to D30 are the numbers under which they were found; each test would fail on the code that had them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import anyio
import pytest
from market_data_core import OptionSnapshot, Quote, Trade
from market_data_core.telemetry import BackpressureLevel, FeedbackEvent
from pydantic import BaseModel
from redis.asyncio import Redis

from ibkr_actor.client import Client, connect
from ibkr_actor.provider.bridge import QUOTES, run_bridge
from ibkr_actor.provider.envelope_bus import EnvelopeBus
from ibkr_actor.provider.envelopes import Envelope
from ibkr_actor.provider.models import IBKRQuote
from tests.e2e.kit import running_redis
from tests.provider.kit import two_of_a_house

pytestmark = pytest.mark.anyio

DEADLINE_S = 60.0
AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def quote(number: int) -> Quote:
    return Quote(symbol="AAPL", bid=Decimal(number), timestamp=AT)


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    async with running_redis() as server, connect(server.own_url) as it:
        yield it


async def read(bus: EnvelopeBus, consumer: str, count: int, *, group: str = "g") -> list[Envelope]:
    """The next few of the stream `s`, not answered for."""
    found: list[Envelope] = []
    with anyio.fail_after(DEADLINE_S):
        async with aclosing(bus.subscribe("s", group=group, consumer=consumer, block_ms=50)) as envelopes:
            async for envelope in envelopes:
                found.append(envelope)
                if len(found) == count:
                    return found
    raise AssertionError("unreachable")


async def pending(redis: Redis, group: str = "g") -> int:
    answer: Any = await redis.xpending("mdp:s", group)
    return int(answer["pending"])


async def letters(redis: Redis) -> list[dict[str, str]]:
    answer: Any = await redis.xrange("mdp:s.dlq")
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in answer]


# ---- D28: ack() did nothing, fail() wrote an empty body without a count, and nothing left the pending list


async def test_d28_what_is_acknowledged_is_pending_no_more(redis: Redis) -> None:
    bus = EnvelopeBus(redis)
    for number in range(3):
        await bus.publish("s", quote(number))
    envelopes = await read(bus, "one", 3)
    assert await pending(redis) == 3
    for envelope in envelopes:
        await bus.ack("s", envelope.id)
    assert await pending(redis) == 0


async def test_d28_what_fails_comes_again_and_then_lies_with_its_body_and_its_count_among_the_dead(
    redis: Redis,
) -> None:
    bus = EnvelopeBus(redis, dlq_max_retries=2, claim_idle_s=0.001)
    entry_id = await bus.publish("s", quote(7), key="k")
    stored: Any = await redis.xrange("mdp:s")
    body = stored[0][1]
    for attempt in range(1, 4):
        (envelope,) = await read(bus, "one", 1)
        assert (envelope.id, envelope.payload.model_dump()["bid"], envelope.deliveries) == (entry_id, 7, attempt)
        assert await letters(redis) == []
        await bus.fail("s", envelope.id, "the database is full")
    (letter,) = await letters(redis)
    assert letter["data"] == body[b"data"].decode()
    assert letter["original_id"] == entry_id
    assert (letter["reason"], letter["retries"], letter["group"]) == ("the database is full", "2", "g")
    assert await pending(redis) == 0


async def test_d28_what_cannot_be_read_is_dead_with_its_body_and_holds_up_nobody(redis: Redis) -> None:
    bus = EnvelopeBus(redis)
    await redis.xadd("mdp:s", {"data": "no envelope"})
    await redis.xadd("mdp:s", {"other": "field"})
    await bus.publish("s", quote(1))
    (envelope,) = await read(bus, "one", 1)
    assert envelope.payload == IBKRQuote(symbol="AAPL", bid=Decimal(1), timestamp=AT)
    assert [letter["data"] for letter in await letters(redis)] == ["no envelope", ""]
    assert await pending(redis) == 1


async def test_d28_an_acknowledgement_needs_to_know_its_group(redis: Redis) -> None:
    bus, other = EnvelopeBus(redis), EnvelopeBus(redis)
    await bus.publish("s", quote(1))
    (envelope,) = await read(bus, "one", 1)
    with pytest.raises(ValueError, match="of which group"):
        await other.ack("s", envelope.id)
    await other.ack("s", envelope.id, group="g")
    assert await pending(redis) == 0


# ---- D29: no MAXLEN; groups from `$`; nothing claimed; own pending never read; a lost group never made again


async def test_d29_a_stream_keeps_about_its_maxlen_and_so_do_the_dead(redis: Redis) -> None:
    bus = EnvelopeBus(redis, maxlen=200)
    for _ in range(20):
        await bus.publish_all(("s", quote(number), None) for number in range(100))
    assert 200 <= await redis.xlen("mdp:s") <= 400


async def test_d29_who_never_answers_fills_no_memory(redis: Redis) -> None:
    bus = EnvelopeBus(redis, maxlen=3)
    for number in range(5):
        await bus.publish("s", quote(number))
    envelopes = await read(bus, "c", 5)
    with pytest.raises(ValueError, match="was not given out here"):
        await bus.ack("s", envelopes[1].id)
    for envelope in envelopes[2:]:
        await bus.ack("s", envelope.id)
    assert await pending(redis) == 2


async def test_d29_what_was_there_before_the_first_consumer_is_read(redis: Redis) -> None:
    bus = EnvelopeBus(redis)
    for number in range(3):
        await bus.publish("s", quote(number))
    assert [envelope.payload.model_dump()["bid"] for envelope in await read(bus, "one", 3)] == [0, 1, 2]


async def test_d29_a_consumer_that_starts_again_gets_what_it_had_not_answered_for_before_what_is_new(
    redis: Redis,
) -> None:
    bus = EnvelopeBus(redis)
    for number in range(3):
        await bus.publish("s", quote(number))
    before = await read(bus, "one", 3)
    await bus.ack("s", before[0].id)
    await bus.publish("s", quote(3))
    again = await read(EnvelopeBus(redis), "one", 3)
    assert [envelope.payload.model_dump()["bid"] for envelope in again] == [1, 2, 3]
    assert [envelope.deliveries for envelope in again] == [2, 2, 1]


async def test_d29_what_a_dead_consumer_left_is_taken_over_by_one_that_lives(redis: Redis) -> None:
    for number in range(50):
        await EnvelopeBus(redis).publish("s", quote(number))
    await read(EnvelopeBus(redis), "dead", 50)
    taken = await read(EnvelopeBus(redis, claim_idle_s=0.001), "alive", 50)
    assert [envelope.payload.model_dump()["bid"] for envelope in taken] == list(range(50))


async def test_d29_a_group_that_is_lost_is_made_again(redis: Redis) -> None:
    bus = EnvelopeBus(redis)
    await bus.publish("s", quote(1))
    with anyio.fail_after(DEADLINE_S):
        async with aclosing(bus.subscribe("s", group="g", consumer="one", block_ms=50)) as envelopes:
            await bus.ack("s", (await anext(envelopes)).id)
            await redis.flushall()
            await bus.publish("s", quote(2))
            assert (await anext(envelopes)).payload.model_dump()["bid"] == 2


# ---- D30: two models known; a hash that never fits; MD_NAMESPACE ignored


@pytest.mark.parametrize(
    "event",
    [
        quote(1),
        Trade(symbol="AAPL", ts=AT, price=Decimal(1), size=1),
        OptionSnapshot(symbol="AAPL", expiry=AT, strike=Decimal(1), option_type="C"),
        FeedbackEvent(coordinator_id="c", queue_size=1, capacity=2, level=BackpressureLevel.ok, ts=1.5),
    ],
    ids=lambda event: type(event).__name__,
)
async def test_d30_every_model_of_core_arrives_and_its_hash_is_what_a_reader_computes(
    redis: Redis, event: BaseModel
) -> None:
    bus = EnvelopeBus(redis)
    await bus.publish("s", event)
    (envelope,) = await read(bus, "one", 1)
    assert type(event).model_validate(envelope.payload.model_dump()) == event
    assert await letters(redis) == []
    answer: Any = await redis.xrange("mdp:s")
    raw = json.loads(answer[0][1][b"data"])
    computed = hashlib.sha256(json.dumps(raw["payload"], sort_keys=True).encode()).hexdigest()
    assert raw["meta"]["hash"] == computed


async def test_d30_an_event_that_was_changed_on_the_way_is_not_taken(redis: Redis) -> None:
    bus = EnvelopeBus(redis)
    await bus.publish("s", quote(1))
    answer: Any = await redis.xrange("mdp:s")
    await redis.xadd("mdp:s", {"data": answer[0][1][b"data"].replace(b'"bid": "1"', b'"bid": "2"')})
    await bus.publish("s", quote(3))
    assert [envelope.payload.model_dump()["bid"] for envelope in await read(bus, "one", 2)] == [1, 3]
    (letter,) = await letters(redis)
    assert "hash" in letter["reason"]


async def test_d30_the_namespace_of_the_environment_is_meant(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MD_NAMESPACE", "prod")
    assert EnvelopeBus(redis).key("s") == "prod:s"
    assert EnvelopeBus(redis, namespace="mine").key("s") == "mine:s"


# ---- the bridge itself


async def test_quotes_trades_and_bars_of_a_sidecar_arrive_as_cores_models() -> None:
    async with two_of_a_house(clock_speed=20.0) as (_, house, _settings), Client(house.url) as client:
        bus = EnvelopeBus(house.redis)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_bridge, client, bus, ["quote", "trade", "bar.5s"], "AAPL")
            found: dict[str, Envelope] = {}
            with anyio.fail_after(DEADLINE_S):
                for stream in ("marketdata.bars", "marketdata.trades", QUOTES):
                    async with aclosing(bus.subscribe(stream, group="g", consumer="one")) as envelopes:
                        found[stream] = await anext(envelopes)
            tasks.cancel_scope.cancel()
    assert {type(envelope.payload).__mro__[1].__name__ for envelope in found.values()} == {"Bar", "Trade", "Quote"}
    assert {envelope.key for envelope in found.values()} == {"AAPL.STK.SMART.USD"}


async def test_a_kind_without_a_model_is_refused() -> None:
    async with running_redis() as server, connect(server.own_url) as redis:
        with pytest.raises(ValueError, match="depth"):
            await run_bridge(Client(redis), EnvelopeBus(redis), ["depth"], "AAPL")
