"""Owns the rules for the days derivatives end on: nth weekdays, and the business days holidays move them to.

Must not know any instrument, nor what day it is.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from ibkr_actor.sim.market.holidays import holidays

FRIDAY = 4
MONTH_LETTERS = "FGHJKMNQUVXZ"
_DAY = datetime.timedelta(days=1)


def stamp(day: datetime.date) -> str:
    """YYYYMMDD."""
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"


def nth_weekday(year: int, month: int, weekday: int, nth: int) -> datetime.date:
    """The nth (1..4) of a weekday (Monday 0) in a month."""
    first = datetime.date(year, month, 1)
    return first + datetime.timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def third_friday(year: int, month: int) -> datetime.date:
    """The third Friday, or the Thursday before when the exchanges are closed on it (Good Friday)."""
    return business_day_on_or_before(nth_weekday(year, month, FRIDAY, 3))


def is_business_day(day: datetime.date) -> bool:
    return day.weekday() < 5 and day not in holidays("us", day.year).closed


def business_day_on_or_before(day: datetime.date) -> datetime.date:
    while not is_business_day(day):
        day -= _DAY
    return day


def business_days_before(day: datetime.date, count: int) -> datetime.date:
    """`count` business days before `day`, which need not be one itself."""
    for _ in range(count):
        day = business_day_on_or_before(day - _DAY)
    return day


def month_end(year: int, month: int) -> datetime.date:
    """The last business day of a month."""
    following, over = add_months(year, month, 1)
    return business_day_on_or_before(datetime.date(following, over, 1) - _DAY)


def add_months(year: int, month: int, count: int) -> tuple[int, int]:
    number = year * 12 + month - 1 + count
    return number // 12, number % 12 + 1


def days_between(first: datetime.date, last: datetime.date) -> Iterator[datetime.date]:
    """Every day from `first` to `last`, both included."""
    while first <= last:
        yield first
        first += _DAY
