"""The replaced provider's defects as its users met them, one by one, each shown not to happen through ours.

The numbers are those under which they were found; each test would fail on the code that had them. What the sidecar does
about them is shown beside the part that does it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import anyio
import market_data_core as core
import pytest
from market_data_core import Instrument

from ibkr_actor.client import Client
from ibkr_actor.provider import IBKRProvider, IBKRSettings, TokenBucket, handle_ib_error, map_ibkr_error
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import House
from tests.e2e.test_types import START_S
from tests.provider.kit import DEADLINE_S, first, own_provider, two_of_a_house

pytestmark = pytest.mark.anyio

AAPL = Instrument(symbol="AAPL")
MSFT = Instrument(symbol="MSFT")
EUR = Instrument(symbol="EUR", sec_type="CASH")
BMW = Instrument(symbol="BMW", currency="EUR", exchange="IBIS")
START, END = datetime(2026, 11, 16, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)

Site = tuple[Simulator, House, IBKRSettings]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with two_of_a_house() as it:
        yield it


# ---- D1 to D5: what a quote is


async def test_d1_a_quote_comes_when_something_happened_and_only_then() -> None:
    async with Simulator(SimulatorSettings(ticks_per_s=0.0)) as sim, own_provider(sim) as provider:
        quotes = provider.stream_quotes([AAPL])
        with anyio.fail_after(DEADLINE_S):
            values = [(await anext(quotes)).model_dump(exclude={"timestamp"})]
        # The replaced one would have said the same ten times meanwhile.
        with anyio.move_on_after(1.0):
            while True:
                values.append((await anext(quotes)).model_dump(exclude={"timestamp"}))
        await quotes.aclose()
        assert all(one != other for one, other in pairwise(values))


async def test_d2_a_pair_without_trades_and_volume_has_quotes(site: Site) -> None:
    async with IBKRProvider(site[2]) as provider:
        quotes = await first(provider.stream_quotes([EUR]), 6)
    assert quotes[-1].bid is not None
    assert quotes[-1].ask is not None
    assert {(quote.last, quote.volume) for quote in quotes} == {(None, 0)}


async def test_d4_d5_delayed_data_say_so_and_a_time_knows_its_zone() -> None:
    before = datetime.now(UTC)
    async with (
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        own_provider(sim, market_data_type=3) as provider,
    ):
        quotes = await first(provider.stream_quotes([AAPL]), 5)
    assert quotes[-1].delayed
    assert all(before <= quote.timestamp <= datetime.now(UTC) for quote in quotes)


# ---- D9: stream_trades and stream_options were coroutines, and `async for` ended in a TypeError


async def test_d9_every_method_is_read_with_async_for(site: Site) -> None:
    async with IBKRProvider(site[2]) as provider:
        for source in (
            provider.stream_quotes([AAPL]),
            provider.stream_trades([AAPL]),
            provider.request_historical_bars(AAPL, START, END, "1d"),
        ):
            async for item in source:
                assert item.symbol == "AAPL"
                break
        for other in (provider.stream_bars("5s", [AAPL]), provider.stream_options(AAPL)):
            assert hasattr(other, "__aiter__")
            await other.aclose()


# ---- D10, D11: the interval and the resolution are meant


async def test_d10_no_bar_lies_outside_what_was_asked(site: Site) -> None:
    start = datetime(2026, 11, 19, 15, 7, tzinfo=UTC)
    end = start + timedelta(minutes=31)
    async with IBKRProvider(site[2]) as provider:
        bars = [bar async for bar in provider.request_historical_bars(AAPL, start, end, "5m")]
        pair = [bar async for bar in provider.request_historical_bars(EUR, start, end, "5m")]
    assert [bar.ts for bar in bars] == [datetime(2026, 11, 19, 15, minute, tzinfo=UTC) for minute in range(15, 36, 5)]
    assert [bar.ts for bar in pair] == [bar.ts for bar in bars]


# ---- D12: an error looked like an empty answer


async def test_d12_what_is_refused_is_an_error_and_not_an_empty_answer() -> None:
    async with (
        Simulator(SimulatorSettings(permissions={"STK": "none"})) as sim,
        own_provider(sim) as provider,
    ):
        with anyio.fail_after(DEADLINE_S), pytest.raises(core.PermissionsMissing):
            await first(provider.request_historical_bars(AAPL, START, END, "1d"), 1)
        with anyio.fail_after(DEADLINE_S), pytest.raises(core.PermissionsMissing):
            await first(provider.stream_quotes([AAPL]), 1_000)


# ---- D13, D14: the pacing classes and 162


async def test_d13_a_bucket_of_60_grants_60_in_its_first_window_and_not_119() -> None:
    now_s = 0.0
    bucket = TokenBucket(60, 0.1, clock=lambda: now_s)
    granted = 0
    for second in range(600):
        now_s = float(second)
        while await bucket.acquire(timeout=0):
            granted += 1
    assert granted == 60


def test_d14_ibs_real_words_for_a_pacing_violation_are_known() -> None:
    text = "Historical Market Data Service error message:Historical data request pacing violation"
    error = map_ibkr_error(162, text)
    assert isinstance(error, core.PacingViolation)
    assert error.retry_after_sec == 600


# ---- D16: canonical errors were wrapped anew, as a generic one with the code IBKR_None


@pytest.mark.parametrize(
    "error",
    [
        core.ConnectionFailed("gone", code="IBKR_504"),
        core.PacingViolation("slow", retry_after_sec=7, scope="hist_AAPL", code="IBKR_162"),
        core.PermissionsMissing("no"),
        core.ValidationError("what", field="end"),
    ],
)
def test_d16_a_canonical_error_stays_what_it_is(error: core.MarketDataError) -> None:
    assert handle_ib_error(error) is error


async def test_d16_what_comes_out_of_a_stream_is_the_error_itself() -> None:
    async with (
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        own_provider(sim, reconnect_enabled=False) as provider,
    ):
        quotes = provider.stream_quotes([AAPL])
        await anext(quotes)
        sim.cut()
        with anyio.fail_after(DEADLINE_S), pytest.raises(core.ConnectionFailed) as caught:
            async for _ in quotes:
                pass
    assert type(caught.value) is core.ConnectionFailed
    assert caught.value.code != "IBKR_None"


# ---- D22: when any user of the provider left, everyone's streams ended


async def test_d22_one_users_end_is_nobody_elses(site: Site) -> None:
    provider = IBKRProvider(site[2])
    async with provider:
        quotes = provider.stream_quotes([AAPL])
        await anext(quotes)
        async with provider:  # another user, as each request of the replaced service was
            bars = [bar async for bar in provider.request_historical_bars(MSFT, START, END, "1d")]
        assert len(bars) == 5
        assert provider.session.is_connected()
        with anyio.fail_after(DEADLINE_S):
            for _ in range(20):
                await anext(quotes)
        await quotes.aclose()
    assert not provider.session.is_connected()


async def test_d22_a_user_who_ends_while_others_read_the_same_takes_nothing_from_them(site: Site) -> None:
    async with IBKRProvider(site[2]) as provider:
        one, other = provider.stream_quotes([AAPL]), provider.stream_quotes([AAPL])
        await anext(one)
        await anext(other)
        await one.aclose()
        assert site[0].line_count() == 1
        with anyio.fail_after(DEADLINE_S):
            for _ in range(20):
                await anext(other)
        await other.aclose()


# ---- D23: every caller got every caller's symbols, and a symbol at two places was one


async def test_d23_each_loop_has_its_own_instruments(site: Site) -> None:
    async with IBKRProvider(site[2]) as provider:
        seen: dict[str, set[str]] = {}

        async def read(instrument: Instrument) -> None:
            quotes = await first(provider.stream_quotes([instrument]), 30)
            seen[instrument.symbol] = {quote.symbol for quote in quotes}

        async with anyio.create_task_group() as tasks:
            for instrument in (AAPL, MSFT, EUR):
                tasks.start_soon(read, instrument)
    assert seen == {"AAPL": {"AAPL"}, "MSFT": {"MSFT"}, "EUR": {"EUR"}}


async def test_d23_one_symbol_at_two_places_is_two_contracts(site: Site) -> None:
    direct = Instrument(symbol="AAPL", exchange="NASDAQ")
    async with IBKRProvider(site[2]) as provider:
        seen: set[str] = set()
        with anyio.fail_after(DEADLINE_S):
            async with aclosing(provider.stream_quotes([AAPL, direct])) as quotes:
                async for quote in quotes:
                    seen.add(quote.instrument)
                    if len(seen) == 2:
                        break
    assert seen == {"AAPL.STK.SMART.USD", "AAPL.STK.NASDAQ.USD"}


# ---- D24: breaking out of the loop kept the line


async def test_d24_a_loop_that_is_left_gives_its_line_back(site: Site) -> None:
    sim = site[0]
    async with IBKRProvider(site[2]) as provider:
        async for _ in provider.stream_quotes([AAPL, MSFT]):
            await sim.wait_for(lambda: sim.line_count() == 2)
            break
        gc.collect()
        await sim.wait_for(lambda: sim.line_count() == 0)
        async with Client(site[1].url) as client:
            assert await client.list() == []


async def test_d24_a_loop_that_is_cancelled_or_fails_gives_its_line_back(site: Site) -> None:
    sim = site[0]
    async with IBKRProvider(site[2]) as provider:

        async def read() -> None:
            async for _ in provider.stream_quotes([AAPL]):
                pass

        task = asyncio.create_task(read())
        await sim.wait_for(lambda: sim.line_count() == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sim.wait_for(lambda: sim.line_count() == 0)

        async def fail() -> None:
            async for _ in provider.stream_quotes([AAPL]):
                raise RuntimeError("the strategy failed")

        with pytest.raises(RuntimeError, match="the strategy failed"):
            await fail()
        gc.collect()
        await sim.wait_for(lambda: sim.line_count() == 0)


# ---- D25: everything was a stock


async def test_d25_an_instrument_is_of_its_own_type_and_currency() -> None:
    future = Instrument(symbol="ES.FUT.CME.USD.20261218.ES", sec_type="FUT")
    async with two_of_a_house(start_time_s=START_S) as (_, _, settings), IBKRProvider(settings) as provider:
        for instrument, wanted in ((future, "ES.FUT.CME.USD.20261218.ES"), (EUR, "EUR.CASH.IDEALPRO.USD")):
            (quote,) = await first(provider.stream_quotes([instrument]), 1)
            assert quote.instrument == wanted
            assert quote.con_id > 0
        (by_id,) = await first(provider.stream_quotes([Instrument(symbol="any", conid=265598)]), 1)
        assert by_id.instrument == "AAPL.STK.SMART.USD"
