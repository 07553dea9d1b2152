"""Owns the reading of IB's trading hours: whether a market is open at a given time, and when it opens next.

Looks at no clock; a text or a zone that cannot be read is an unknown, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

_NS_PER_S: Final = 1_000_000_000
# `20260105:0400-20260105:2000`, or in the older form `20260105:0400-2000` with several ranges after a comma.
_RANGE: Final = re.compile(r"(?:([0-9]{8}):)?([0-9]{4})-(?:([0-9]{8}):)?([0-9]{4})")
# IB's names of zones -> today's: some are a fixed offset or nothing elsewhere, and the old ones are missing where only
# today's are installed, as on Debian 13. Source: ContractDetails.timeZoneId as observed; tzdata, `backward`.
_ZONES: Final = {
    "US/Eastern": "America/New_York",
    "US/Central": "America/Chicago",
    "US/Mountain": "America/Denver",
    "US/Pacific": "America/Los_Angeles",
    "US/Arizona": "America/Phoenix",
    "US/Alaska": "America/Anchorage",
    "US/Hawaii": "Pacific/Honolulu",
    "EST": "America/New_York",
    "EST5EDT": "America/New_York",
    "CST": "America/Chicago",
    "CST6CDT": "America/Chicago",
    "MST": "America/Denver",
    "MST7MDT": "America/Denver",
    "PST": "America/Los_Angeles",
    "PST8PDT": "America/Los_Angeles",
    "Canada/Eastern": "America/Toronto",
    "America/Montreal": "America/Toronto",
    "America/Buenos_Aires": "America/Argentina/Buenos_Aires",
    "Brazil/East": "America/Sao_Paulo",
    "Mexico/General": "America/Mexico_City",
    "GMT": "Europe/London",
    "BST": "Europe/London",
    "GB": "Europe/London",
    "GB-Eire": "Europe/London",
    "Eire": "Europe/Dublin",
    "WET": "Europe/Lisbon",
    "Portugal": "Europe/Lisbon",
    "MET": "Europe/Berlin",
    "CET": "Europe/Berlin",
    "EET": "Europe/Athens",
    "Poland": "Europe/Warsaw",
    "Turkey": "Europe/Istanbul",
    "MSK": "Europe/Moscow",
    "W-SU": "Europe/Moscow",
    "Israel": "Asia/Jerusalem",
    "Asia/Tel_Aviv": "Asia/Jerusalem",
    "Asia/Calcutta": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
    "Japan": "Asia/Tokyo",
    "HKT": "Asia/Hong_Kong",
    "Hongkong": "Asia/Hong_Kong",
    "PRC": "Asia/Shanghai",
    "ROC": "Asia/Taipei",
    "ROK": "Asia/Seoul",
    "KST": "Asia/Seoul",
    "Singapore": "Asia/Singapore",
    "Australia/ACT": "Australia/Sydney",
    "Australia/NSW": "Australia/Sydney",
    "Australia/Canberra": "Australia/Sydney",
    "Australia/Victoria": "Australia/Melbourne",
    "NZ": "Pacific/Auckland",
}


class Market(Struct, frozen=True):
    """Whether a market is open; `opens` is its next opening in its own zone, None when IB's text does not reach it."""

    is_open: bool
    opens: datetime | None = None


def market_at(trading_hours: str, time_zone: str, now_ns: int) -> Market | None:
    """The state of a market, None when the text does not say it for that time.

    `trading_hours` is IB's text of about a week: ranges by day, separated by `;`, and `20260103:CLOSED`.
    """
    zone = zone_named(time_zone)
    if zone is None or not trading_hours:
        return None
    now = datetime.fromtimestamp(now_ns // _NS_PER_S, UTC)
    ranges = sorted(trading_ranges(trading_hours, zone))
    if any(start <= now < end for start, end in ranges):
        return Market(True)
    opens = next((start for start, _ in ranges if start > now), None)
    days = re.findall(r"(?:^|;)([0-9]{8}):", trading_hours)
    today = f"{now.astimezone(zone):%Y%m%d}"
    # A listing that begins later or has ended says nothing of now.
    if not days or not min(days) <= today or (opens is None and today > max(days)):
        return None
    return Market(False, opens)


def zone_named(name: str) -> ZoneInfo | None:
    """The zone IB means by `US/Eastern`, `MET`, or `EST (Eastern Standard Time)`; None for an unknown one."""
    short = name.split("(")[0].strip()
    try:
        return ZoneInfo(_ZONES.get(short, short)) if short else None
    except (OSError, ValueError, KeyError):
        # Unknown, not a legal key, or no zone database on this machine.
        return None


def trading_ranges(trading_hours: str, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    """Begin and end of each stretch of trading in IB's text; parts that cannot be read are left out."""
    for day_text in trading_hours.split(";"):
        day = day_text[:8]
        for start_day, start, end_day, end in _RANGE.findall(day_text):
            try:
                first = datetime.strptime(f"{start_day or day}{start}", "%Y%m%d%H%M").replace(tzinfo=zone)
                last = datetime.strptime(f"{end_day or start_day or day}{end}", "%Y%m%d%H%M").replace(tzinfo=zone)
            except ValueError:
                continue
            yield first, last
