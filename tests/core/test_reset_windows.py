"""IB's reset windows by the clock of New York, over the change of the clock and the weekend."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ibkr_actor.core.session.reset_windows import NORTH_AMERICA, gateway_restart, window_at


def utc_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-01-06 04:44:59", None),
        ("2026-01-06 04:45", "2026-01-06 05:45"),
        ("2026-01-06 05:44:59", "2026-01-06 05:45"),
        ("2026-01-06 05:45", None),
        # In summer an hour earlier in UTC.
        ("2026-07-07 03:50", "2026-07-07 04:45"),
        ("2026-07-07 04:50", None),
        # Friday's is the long one, and there is no short one in it.
        ("2026-01-10 03:59:59", None),
        ("2026-01-10 04:00", "2026-01-10 08:00"),
        ("2026-01-10 07:59", "2026-01-10 08:00"),
        ("2026-01-10 08:00", None),
        # Saturday and Sunday have a short one again.
        ("2026-01-11 05:00", "2026-01-11 05:45"),
        ("2026-01-12 05:00", "2026-01-12 05:45"),
        # The night in which the clock is put forward, two hours later.
        ("2026-03-08 05:00", "2026-03-08 05:45"),
    ],
)
def test_ibs_windows_by_the_clock_of_new_york(at: str, until: str | None) -> None:
    found = window_at(NORTH_AMERICA, utc_ns(at))
    assert (found and found[1]) == (until and utc_ns(until))


def test_the_gateways_own_restart_is_a_window_of_ten_minutes_every_day() -> None:
    windows = (gateway_restart("06:30 Europe/London"),)
    assert window_at(windows, utc_ns("2026-01-10 06:29:59")) is None
    assert window_at(windows, utc_ns("2026-01-10 06:39")) == (windows[0], utc_ns("2026-01-10 06:40"))
    assert window_at(windows, utc_ns("2026-07-10 05:31")) == (windows[0], utc_ns("2026-07-10 05:40"))


@pytest.mark.parametrize("text", ["06:30", "noon Europe/London", "06:30 Mars/Olympus", " ", "06:30 ../etc"])
def test_a_restart_that_cannot_be_read_is_explained(text: str) -> None:
    with pytest.raises(ValueError, match="23:55 America/New_York"):
        gateway_restart(text)
