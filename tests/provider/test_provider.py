"""The provider against a simulated gateway: by itself, and as a client of a sidecar that runs."""

import inspect
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import anyio
import market_data_core as core
import pytest
from market_data_core import Instrument, MarketDataProvider

from ibkr_actor.client import Client
from ibkr_actor.provider import IBKRProvider, IBKRSettings
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import free_port, running_redis
from tests.provider.kit import DEADLINE_S, first, own_provider, two_of_a_house

pytestmark = pytest.mark.anyio

AAPL = Instrument(symbol="AAPL")
EUR = Instrument(symbol="EUR", sec_type="CASH", exchange="IDEALPRO")


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(ticks_per_s=50.0)) as it:
        yield it


async def test_a_provider_alone_serves_quotes_trades_and_history_and_leaves_nothing_behind(sim: Simulator) -> None:
    async with own_provider(sim) as provider:
        anybody: object = provider
        assert isinstance(anybody, MarketDataProvider)
        quotes = await first(provider.stream_quotes([AAPL]), 5)
        assert {quote.symbol for quote in quotes} == {"AAPL"}
        assert {type(quote).__mro__[1] for quote in quotes} == {core.Quote}
        assert all(quote.timestamp.tzinfo is not None for quote in quotes)
        assert all(not quote.delayed for quote in quotes)
        pair = (await first(provider.stream_quotes([EUR]), 4))[-1]
        assert (pair.symbol, pair.last, pair.volume) == ("EUR", None, 0)
        assert pair.bid is not None
        (trade,) = await first(provider.stream_trades([AAPL]), 1)
        assert (trade.symbol, trade.price > 0, trade.size > 0) == ("AAPL", True, True)
        assert trade.ts.tzinfo is not None
        end = datetime(2026, 11, 20, 21, tzinfo=UTC)
        bars = [bar async for bar in provider.request_historical_bars(AAPL, end - timedelta(hours=2), end, "5m")]
        assert [bar.ts for bar in bars] == [end - timedelta(minutes=5 * n) for n in reversed(range(24))]
        assert {bar.resolution for bar in bars} == {"5m"}
        assert provider.session.is_connected()
        assert provider.session.get_connection_stats()["uptime_seconds"] > 0
        await sim.wait_for(lambda: sim.line_count() == 0)
    assert not provider.session.is_connected()
    assert not sim.violations
    assert not [task for task in anyio.get_running_tasks() if "ibkr-actor" in (task.name or "")]


async def test_five_second_bars_come_once_each_with_their_end(sim: Simulator) -> None:
    async with two_of_a_house(clock_speed=20.0) as (_, _house, settings), IBKRProvider(settings) as provider:
        bars = await first(provider.stream_bars("5s", [AAPL, EUR]), 6)
    for symbol in ("AAPL", "EUR"):
        ends = [bar.ts for bar in bars if bar.symbol == symbol]
        assert ends == sorted(set(ends))
        assert all(end.timestamp() % 5 == 0 for end in ends)
    assert {bar.resolution for bar in bars} == {"5s"}


async def test_a_refused_port_is_said_at_once() -> None:
    with anyio.fail_after(DEADLINE_S), pytest.raises(core.ConnectionFailed, match=r"refused\."):
        async with IBKRProvider(IBKRSettings(port=free_port(), redis_url=None)):
            pass


async def test_a_redis_without_a_sidecar_and_no_redis_at_all_are_connection_failures() -> None:
    no_redis = IBKRSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with anyio.fail_after(DEADLINE_S), pytest.raises(core.ConnectionFailed, match="Redis"):
        await IBKRProvider(no_redis).session.connect()
    async with running_redis() as server:
        with anyio.fail_after(DEADLINE_S), pytest.raises(core.ConnectionFailed, match="no sidecar"):
            await IBKRProvider(IBKRSettings(redis_url=server.own_url)).session.connect()


async def test_a_session_that_has_given_up_tells_every_loop_and_the_next_loop_connects_anew(sim: Simulator) -> None:
    async with own_provider(sim, reconnect_enabled=False) as provider:
        quotes = provider.stream_quotes([AAPL])
        await anext(quotes)
        sim.cut()
        with anyio.fail_after(DEADLINE_S), pytest.raises(core.ConnectionFailed):
            async for _ in quotes:
                pass
        assert not provider.session.is_connected()
        assert await first(provider.stream_quotes([AAPL]), 1)


async def test_a_cut_connection_comes_back_by_itself_and_the_loop_goes_on(sim: Simulator) -> None:
    async with own_provider(sim, reconnect_backoff_ms=100) as provider:
        quotes = provider.stream_quotes([AAPL])
        before = await anext(quotes)
        sim.cut()
        with anyio.fail_after(DEADLINE_S):
            async for quote in quotes:
                if quote.timestamp > before.timestamp + timedelta(milliseconds=1) and provider.session.is_connected():
                    break
        await quotes.aclose()


@pytest.mark.parametrize(
    ("instrument", "kind"),
    [
        (Instrument(symbol="NOSUCHTHING"), core.InvalidInstrument),
        (Instrument(symbol="ES", sec_type="FUT", exchange="CME"), core.InvalidInstrument),
        (Instrument(symbol="AAPL", sec_type="NOTHING"), core.MarketDataError),
        (Instrument(symbol="A.STK.SMART"), core.InvalidInstrument),
    ],
)
async def test_refusals_are_canonical_errors(
    sim: Simulator, instrument: Instrument, kind: type[core.MarketDataError]
) -> None:
    async with own_provider(sim) as provider:
        for source in (
            provider.stream_quotes([instrument]),
            provider.request_historical_bars(instrument, datetime(2026, 11, 1), datetime(2026, 11, 2), "1d"),  # noqa: DTZ001  # as users write them
        ):
            with anyio.fail_after(DEADLINE_S), pytest.raises(kind):
                async for _ in source:
                    pass


async def test_what_makes_no_sense_is_refused_before_anything_is_asked() -> None:
    provider = IBKRProvider(IBKRSettings(port=free_port(), redis_url=None))
    day = datetime(2026, 11, 1, tzinfo=UTC)
    for source in (
        provider.stream_bars("45m", [AAPL]),
        provider.request_historical_bars(AAPL, day, day, "45m"),
        provider.request_historical_bars(AAPL, day, day - timedelta(days=1), "1d"),
    ):
        with pytest.raises(core.ValidationError):
            async for _ in source:
                pass


async def test_times_without_a_zone_are_local_ones(sim: Simulator) -> None:
    end = datetime(2026, 11, 20, 21, tzinfo=UTC)
    local = end.astimezone().replace(tzinfo=None)
    async with own_provider(sim) as provider:
        bars = [bar async for bar in provider.request_historical_bars(AAPL, local - timedelta(hours=1), local, "30m")]
    assert [bar.ts for bar in bars] == [end - timedelta(minutes=30), end]


async def test_regular_hours_are_the_default_and_can_be_left(sim: Simulator) -> None:
    start, end = datetime(2026, 11, 20, 12, tzinfo=UTC), datetime(2026, 11, 20, 16, tzinfo=UTC)
    counts = {}
    for rth in (True, False):
        async with own_provider(sim, use_rth=rth) as provider:
            counts[rth] = len([bar async for bar in provider.request_historical_bars(AAPL, start, end, "30m")])
    assert counts == {True: 3, False: 8}


async def test_in_snapshot_mode_each_instrument_has_one_quote_and_the_loop_ends(sim: Simulator) -> None:
    async with own_provider(sim, snapshot_mode=True) as provider:
        with anyio.fail_after(DEADLINE_S):
            quotes = [quote async for quote in provider.stream_quotes([AAPL, EUR])]
    assert [quote.symbol for quote in quotes] == ["AAPL", "EUR"]
    assert all(quote.bid is not None and quote.bid < Decimal(10_000) for quote in quotes)
    await sim.wait_for(lambda: sim.line_count() == 0)


async def test_delayed_data_say_so(sim: Simulator) -> None:
    async with own_provider(sim, market_data_type=3) as provider:
        quotes = await first(provider.stream_quotes([AAPL]), 3)
    assert quotes[-1].delayed


async def test_delayed_data_can_be_asked_of_a_sidecar_that_runs_with_live_data() -> None:
    async with two_of_a_house() as (_, _house, settings):
        delayed = IBKRSettings(redis_url=settings.redis_url, market_data_type=3)
        async with IBKRProvider(delayed) as provider:
            quotes = await first(provider.stream_quotes([AAPL]), 6)
    assert quotes[-1].delayed


async def test_bars_of_a_minute_come_with_their_own_label_and_end() -> None:
    async with two_of_a_house(clock_speed=150.0) as (_, _house, settings), IBKRProvider(settings) as provider:
        bars = await first(provider.stream_bars("1m", [AAPL]), 2)
    assert {bar.resolution for bar in bars} == {"1m"}
    assert [bar.ts.second for bar in bars] == [0, 0]
    assert bars[0].ts < bars[1].ts


async def test_a_killed_programs_line_goes_with_its_lease_and_closing_gives_it_back_at_once() -> None:
    async with two_of_a_house() as (sim, house, settings):
        provider = IBKRProvider(settings)
        quotes = provider.stream_quotes([AAPL])
        await anext(quotes)
        async with Client(house.url) as client:
            (row,) = await client.list()
            assert [holder["lease_s"] for holder in row["holders"]] == [60.0]
        await provider.close()
        with anyio.fail_after(DEADLINE_S):
            async for _ in quotes:  # what had come by then, and then its end
                pass
        await sim.wait_for(lambda: sim.line_count() == 0)


async def test_a_cooldown_is_kept_and_cleared_where_the_user_sees_it(sim: Simulator) -> None:
    day = datetime(2026, 11, 20, tzinfo=UTC)
    async with own_provider(sim) as provider:
        await provider.pacing.trigger_cooldown("hist_AAPL", 90)
        with pytest.raises(core.PacingViolation) as caught:
            await first(provider.request_historical_bars(AAPL, day, day + timedelta(days=1), "1d"), 1)
        assert (caught.value.scope, caught.value.retry_after_sec) == ("hist_AAPL", 90)
        await provider.pacing.clear_cooldown("hist_AAPL")
        assert await first(provider.request_historical_bars(AAPL, day, day + timedelta(days=1), "1d"), 1)


def test_the_methods_are_those_of_the_protocol_with_its_parameters() -> None:
    for name in ("stream_quotes", "stream_bars", "stream_trades", "request_historical_bars", "stream_options"):
        ours, theirs = (inspect.signature(getattr(owner, name)) for owner in (IBKRProvider, MarketDataProvider))
        assert list(ours.parameters) == list(theirs.parameters)
        assert {p: v.default for p, v in ours.parameters.items()} == {
            p: v.default for p, v in theirs.parameters.items()
        }
        assert inspect.isasyncgenfunction(getattr(IBKRProvider, name))
