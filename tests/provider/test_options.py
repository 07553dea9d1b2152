"""Chains as core's option snapshots: the window that was asked for, IB's greeks, and the lines given back."""

from datetime import UTC, datetime
from decimal import Decimal

import anyio
import market_data_core as core
import pytest
from market_data_core import Instrument, OptionSnapshot
from msgspec import structs

from ibkr_actor.provider import IBKRProvider
from ibkr_actor.provider.options import to_snapshot
from ibkr_actor.schema.records import Option
from tests.provider.kit import DEADLINE_S, two_of_a_house
from tests.schema.samples import SAMPLES

pytestmark = pytest.mark.anyio

AAPL = Instrument(symbol="AAPL")


async def test_a_chain_streams_the_options_of_the_window_and_gives_its_lines_back() -> None:
    async with two_of_a_house(ticks_per_s=5.0) as (sim, _, settings), IBKRProvider(settings) as provider:
        found: dict[tuple[datetime, Decimal, str], OptionSnapshot] = {}
        with anyio.fail_after(DEADLINE_S):
            async for option in provider.stream_options(AAPL, strike_range=(235.0, 250.0)):
                assert option.symbol == "AAPL"
                found[option.expiry, option.strike, option.option_type] = option
                if any(each.delta is not None for each in found.values()) and len(found) >= 4:
                    break
        assert len({expiry for expiry, _, _ in found}) == 1
        assert all(Decimal(235) <= strike <= Decimal(250) for _, strike, _ in found)
        assert all(option.expiry.tzinfo is not None for option in found.values())
        greek = next(option for option in found.values() if option.delta is not None)
        assert greek.implied_volatility is not None
        assert -1 <= greek.delta <= 1 if greek.delta is not None else False
        await sim.wait_for(lambda: sim.line_count() == 0)
        assert not sim.violations


async def test_no_more_lines_are_taken_than_contracts_were_allowed() -> None:
    async with two_of_a_house(ticks_per_s=5.0) as (sim, _, settings):
        few = settings.model_copy(update={"options_max_contracts": 4})
        async with IBKRProvider(few) as provider:
            seen = set()
            with anyio.fail_after(DEADLINE_S):
                async for option in provider.stream_options(AAPL, moneyness_range=0.5):
                    seen.add((option.strike, option.option_type))
                    assert sim.line_count() <= 5  # four options, and the underlying
                    if len(seen) >= 4:
                        break


@pytest.mark.parametrize(
    "wrong",
    [
        {"expiry": "2026-12-18"},
        {"strike_range": (250.0, 235.0)},
        {"moneyness_range": 0.0},
        {"moneyness_range": float("nan")},
    ],
)
async def test_a_window_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    provider = IBKRProvider()
    with pytest.raises(core.ValidationError):
        async for _ in provider.stream_options(AAPL, **wrong):  # type: ignore[arg-type]  # what is wrong is the point
            pass


def test_a_snapshot_has_none_for_what_is_not_known_and_the_expiry_as_a_day() -> None:
    sample = SAMPLES["option"]
    assert isinstance(sample, Option)
    record = structs.replace(sample, bid=0.0, ask=None, volume="12", open_interest=None, delta=-0.5, feed=3)
    snapshot = to_snapshot(record, "AAPL")
    assert (snapshot.bid, snapshot.ask) == (Decimal("0.0"), None)
    assert [snapshot.volume, snapshot.open_interest] == [12, 0]
    assert (snapshot.delta, snapshot.delayed) == (Decimal("-0.5"), True)
    assert snapshot.expiry == datetime.strptime(record.expiry, "%Y%m%d").replace(tzinfo=UTC)
