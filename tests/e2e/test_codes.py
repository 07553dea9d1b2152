"""Row 13 of the promises: IB's codes in scripted sequences at the wire, with the official client.

Each ends in the state that its row in `core.codes.table` says, and what may heal heals.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from ibkr_actor.core.codes.meaning import ROWS
from ibkr_actor.schema.commands import HeadTimestamp, Reply, Resolve, Schedule, Subscribe
from ibkr_actor.schema.records import Depth, End, Gap, Quote
from tests.e2e.kit import DEADLINE_S, KEYS, House, breath
from tests.e2e.test_night import DATA, back, keeps_limits, night, said

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"
# Time passes so fast that a minute's wait is three seconds.
SPEED = 20.0
# kind, instrument, the request that is refused, code
REFUSED = (
    ("quote", "MSFT", "REQ_MKT_DATA", 101),
    ("quote", "MSFT", "REQ_MKT_DATA", 354),
    ("quote", "MSFT", "REQ_MKT_DATA", 200),
    ("quote", "MSFT", "REQ_MKT_DATA", 10168),
    ("quote", "MSFT", "REQ_MKT_DATA", 10346),
    ("trade", "MSFT", "REQ_TICK_BY_TICK_DATA", 10189),
    ("trade", "MSFT", "REQ_TICK_BY_TICK_DATA", 10190),
    ("bar.5s", "MSFT", "REQ_REAL_TIME_BARS", 420),
    ("depth.smart", "MSFT", "REQ_MKT_DEPTH", 309),
    ("depth.smart", "MSFT", "REQ_MKT_DEPTH", 10092),
)


async def state_of(house: House, key: str) -> str:
    """The state of a stream, with its reason."""
    _, kind, instrument = key.rsplit(":", 2)
    found: Any = await house.redis.hmget(KEYS.last(instrument), [f"state:{kind}", "state_reason"])
    return ":".join(part.decode() for part in found if part)


async def until_state(house: House, key: str, wanted: str) -> None:
    with anyio.fail_after(DEADLINE_S):
        while await state_of(house, key) != wanted:
            await house.call(Resolve(client="test", instrument=AAPL))
            await breath()


async def subscribed(house: House, kind: str, instrument: str = AAPL) -> str:
    (key,) = await house.subscribe(instrument, kind)
    await house.until(key, lambda records: any(isinstance(record, (*DATA, Depth)) for record in records))
    return key


async def test_a_new_request_that_ib_refuses_ends_with_the_rejection_of_its_row() -> None:
    async with night(speed=SPEED) as (sim, house):
        for n, (kind, instrument, message, code) in enumerate(REFUSED):
            sim.act("refuse", code=code, text="what IB says", message=message, count=1)
            command = Subscribe(id=f"r{n}", client="test", instrument=instrument, kinds=[kind], lease_s=0.0)
            accepted = await house.call(command)
            assert accepted.streams is not None, accepted

            def refused(reply: Reply, id: str = command.id) -> bool:
                return (reply.id, reply.status) == (id, "rejected")

            error = (await house.reply("test", refused)).error
            assert error is not None
            row = ROWS[code]
            assert (error.code, error.ib_code, error.retryable) == (row.rejection, code, row.retryable), code
            assert error.retry_after_s == (row.retry_after_s if row.retryable else None), code
            key = accepted.streams[0]
            records = await house.until(key, lambda records: isinstance(records[-1], End))
            assert isinstance(records[-1], End)
            assert records[-1].reason == "failed"
            assert await state_of(house, key) == "ended:failed"
        # Nothing of it is in the way of the next.
        await subscribed(house, "quote", "MSFT")
        assert keeps_limits(sim)


@pytest.mark.parametrize(
    ("kind", "message", "code", "reason"),
    [
        ("quote", "REQ_MKT_DATA", 101, "line_limit"),
        ("trade", "REQ_TICK_BY_TICK_DATA", 10190, "line_limit"),
    ],
)
async def test_a_line_that_was_up_and_finds_no_room_after_a_loss_waits_for_it_and_comes_back_with_one_gap(
    kind: str, message: str, code: int, reason: str
) -> None:
    async with night(speed=SPEED) as (sim, house):
        key = await subscribed(house, kind)
        sim.act("refuse", code=code, text="Max number reached", message=message, count=1)
        sim.cut()
        await until_state(house, key, f"starved:{reason}")
        (gap,) = (await back(house, [key]))[key]
        assert gap.cause == "disconnect"
        assert await state_of(house, key) == "live"
        assert keeps_limits(sim)


async def test_words_that_end_nothing_leave_the_line_as_it_is() -> None:
    async with night(speed=SPEED) as (sim, house):
        key = await subscribed(house, "quote")
        for code in (10167, 10090, 10089, 2152, 300):
            sim.act("send_error", code=code, text="what IB says", kind="market_data")
        sent = sim.errors_sent
        records = await house.until(key, lambda records: sum(1 for record in records if isinstance(record, Quote)) > 40)
        assert all(sent[code] for code in (10167, 10090, 10089, 2152, 300))
        assert not any(isinstance(record, Gap | End) for record in records)
        assert await state_of(house, key) == "live"


async def test_317_empties_the_book_and_316_has_it_asked_for_again() -> None:
    async with night(speed=SPEED) as (sim, house):
        key = await subscribed(house, "depth.smart")

        def emptied(count: int) -> Any:
            def wanted(records: list[Any]) -> bool:
                empty = [n for n, each in enumerate(records) if isinstance(each, Depth) and each.bids == []]
                return len(empty) >= count and any(isinstance(each, Depth) for each in records[empty[count - 1] + 1 :])

            return wanted

        before = await house.until(key, emptied(1))
        assert not any(isinstance(record, Gap) for record in before)
        sim.act("depth_reset")
        records = await house.until(key, emptied(2))
        assert not any(isinstance(record, Gap) for record in records)
        assert await state_of(house, key) == "live"
        sim.act("depth_halt")
        records = await house.until(key, emptied(3))
        assert [record.cause for record in records if isinstance(record, Gap)] == ["bust"]
        assert await state_of(house, key) == "live"
        assert keeps_limits(sim)


async def test_10197_starves_a_line_which_is_said_once_and_comes_back_by_itself() -> None:
    async with night(speed=SPEED) as (sim, house):
        keys = [await subscribed(house, "quote"), await subscribed(house, "quote", "MSFT")]
        # Two logins elsewhere: IB says it twice.
        sim.act("competing_session", for_s=20.0)
        sim.act("competing_session", for_s=20.0)
        await until_state(house, keys[0], "starved:competing_session")
        gaps = await back(house, keys)
        assert {gap.cause for found in gaps.values() for gap in found} == {"competing_session"}
        assert all(len(found) == 1 for found in gaps.values())
        assert sim.errors_sent[10197] >= 4
        spoken = [record for record in await said(house, "session") if record.code == 10197]
        assert len(spoken) == 1
        assert keeps_limits(sim)


async def test_10225_twice_in_a_row_is_two_gaps_and_no_more() -> None:
    async with night(speed=SPEED) as (sim, house):
        keys = [await subscribed(house, "quote"), await subscribed(house, "trade")]
        for n in (1, 2):
            sim.act("bust")
            gaps = await back(house, keys, gaps=n)
        assert {key: [gap.cause for gap in found] for key, found in gaps.items()} == {key: ["bust"] * 2 for key in keys}
        assert [await state_of(house, key) for key in keys] == ["live", "live"]
        assert keeps_limits(sim)


async def test_200_for_a_contract_that_was_good_has_it_resolved_anew() -> None:
    async with night(speed=SPEED) as (sim, house):
        await house.call(Resolve(client="test", instrument=AAPL))
        asked = sim.messages_received[9]
        sim.act("refuse", code=200, text="No security definition", message="REQ_MKT_DATA", count=1)
        await house.subscribe(AAPL, "quote")
        await house.reply("test", lambda reply: reply.status == "rejected")
        reply = await house.call(Resolve(client="test", instrument=AAPL))
        assert reply.status == "result"
        assert sim.messages_received[9] == asked + 1


async def test_162_is_told_apart_by_what_it_says() -> None:
    async with night(speed=SPEED) as (sim, house):
        head = "Historical Market Data Service error message:"
        for text, wanted, retryable in (
            ("No market data permissions for ISLAND STK", "permissions_missing", False),
            ("Trading TWS session is connected from a different IP address", "competing_session", True),
            ("Historical data request pacing violation", "pacing_violation", True),
        ):
            sim.act("refuse", code=162, text=head + text, message="REQ_HEAD_TIMESTAMP", count=1)
            error = (await house.call(HeadTimestamp(client="test", instrument=AAPL))).error
            assert error is not None
            assert (error.code, error.ib_code, error.retryable) == (wanted, 162, retryable)


async def test_a_history_farm_that_is_away_is_waited_for() -> None:
    async with night(speed=SPEED) as (sim, house):
        await subscribed(house, "quote")
        sim.act("farm_broken", farm="history", for_s=20.0)
        reply = await house.call(Schedule(client="test", instrument=AAPL))
        assert reply.status == "result", reply
        assert keeps_limits(sim)


async def test_a_farm_of_definitions_that_is_away_is_waited_for() -> None:
    async with night(speed=SPEED) as (sim, house):
        await subscribed(house, "quote")
        sim.act("farm_broken", farm="definitions", for_s=20.0)
        reply = await house.call(Resolve(client="test", instrument="MSFT"))
        assert reply.status == "result", reply
        assert keeps_limits(sim)


async def test_1300_is_followed_to_the_port_that_it_names() -> None:
    async with night(speed=SPEED) as (sim, house):
        key = await subscribed(house, "quote")
        before = sim.port
        sim.act("move_port")
        (gap,) = (await back(house, [key]))[key]
        assert gap.cause == "disconnect"
        assert sim.port != before
        assert sim.errors_sent[1300] == 1
