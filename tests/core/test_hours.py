from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ibkr_actor.core.calendar.hours import market_at, zone_named

NEW = "20260105:0400-20260105:2000;20260106:0400-20260106:2000;20260107:CLOSED"
OLD = "20260105:0700-1830,1900-2330;20260106:CLOSED"
OVERNIGHT = "20260104:1700-20260105:1600;20260105:1700-20260106:1600"


def at(text: str) -> int:
    """A time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("hours", "zone", "now", "expected"),
    [
        (NEW, "US/Eastern", "2026-01-05T14:30", "open"),
        (NEW, "EST (Eastern Standard Time)", "2026-01-05T09:00", "open"),
        (NEW, "EST", "2026-01-05T08:59", "2026-01-05T04:00:00-05:00"),
        (NEW, "US/Eastern", "2026-01-06T02:00", "2026-01-06T04:00:00-05:00"),
        (NEW, "US/Eastern", "2026-01-07T15:00", "closed"),
        (NEW, "US/Eastern", "2026-01-09T15:00", "unknown"),
        (NEW, "US/Eastern", "2026-01-02T15:00", "unknown"),
        (OLD, "Asia/Tokyo", "2026-01-05T00:00", "open"),
        (OLD, "Asia/Tokyo", "2026-01-05T09:45", "2026-01-05T19:00:00+09:00"),
        (OLD, "Asia/Tokyo", "2026-01-05T14:45", "closed"),
        (OVERNIGHT, "US/Central", "2026-01-05T03:00", "open"),
        (OVERNIGHT, "US/Central", "2026-01-05T22:30", "2026-01-05T17:00:00-06:00"),
        ("", "US/Eastern", "2026-01-05T14:30", "unknown"),
        (NEW, "", "2026-01-05T14:30", "unknown"),
        (NEW, "Nowhere/Land", "2026-01-05T14:30", "unknown"),
        (NEW, "../../etc/passwd", "2026-01-05T14:30", "unknown"),
        ("20269905:0400-20269905:2000", "US/Eastern", "2026-01-05T14:30", "unknown"),
        ("nonsense;;", "US/Eastern", "2026-01-05T14:30", "unknown"),
    ],
)
def test_the_state_of_a_market(hours: str, zone: str, now: str, expected: str) -> None:
    market = market_at(hours, zone, at(now))
    if market is None:
        assert expected == "unknown"
    elif market.is_open:
        assert expected == "open"
    else:
        assert expected == (market.opens.isoformat() if market.opens else "closed")


@pytest.mark.parametrize(
    ("ibs", "todays"),
    [
        ("US/Eastern", "America/New_York"),
        ("US/Central", "America/Chicago"),
        ("GB-Eire", "Europe/London"),
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("Japan", "Asia/Tokyo"),
        ("Hongkong", "Asia/Hong_Kong"),
    ],
)
def test_an_old_name_of_a_zone_needs_no_old_zone_on_the_machine(ibs: str, todays: str) -> None:
    zone = zone_named(ibs)
    assert zone is not None
    assert zone.key == todays
