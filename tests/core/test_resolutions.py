from __future__ import annotations

import pytest

from ibkr_actor.core.history.resolutions import RESOLUTIONS, resolution


def test_there_are_21_resolutions_each_with_ibs_own_text() -> None:
    assert {name: row.bar_size for name, row in RESOLUTIONS.items()} == {
        "1s": "1 secs", "5s": "5 secs", "10s": "10 secs", "15s": "15 secs", "30s": "30 secs",
        "1m": "1 min", "2m": "2 mins", "3m": "3 mins", "5m": "5 mins", "10m": "10 mins", "15m": "15 mins",
        "20m": "20 mins", "30m": "30 mins", "1h": "1 hour", "2h": "2 hours", "3h": "3 hours", "4h": "4 hours",
        "8h": "8 hours", "1d": "1 day", "1w": "1W", "1M": "1M",
    }  # fmt: skip


def test_lengths_follow_the_names() -> None:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_592_000}
    for name, row in RESOLUTIONS.items():
        assert row.seconds == int(name[:-1]) * units[name[-1]]


def test_bars_of_30_seconds_and_less_are_small() -> None:
    assert [name for name, row in RESOLUTIONS.items() if row.small] == ["1s", "5s", "10s", "15s", "30s"]


def test_days_weeks_and_months_are_not_intraday() -> None:
    assert [(row.name, row.kind) for row in RESOLUTIONS.values() if not row.intraday] == [
        ("1d", "day"),
        ("1w", "week"),
        ("1M", "month"),
    ]


@pytest.mark.parametrize("name", ["45m", "1 min", "", "1D", "1W", "60s", "4m", "1mo"])
def test_any_other_text_is_refused_with_the_legal_names(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not one of 1s, 5s, .*, 1M") as refused:
        resolution(name)
    assert repr(name) in str(refused.value)


def test_a_minute_and_a_month_are_told_apart_by_the_letters_case() -> None:
    assert (resolution("1m").seconds, resolution("1M").seconds) == (60, 2_592_000)
