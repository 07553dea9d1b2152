"""Owns which days an exchange stays closed or closes early, by rule for any year.

Must not know hours, zones or instruments.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

_MONDAY, _THURSDAY, _SATURDAY, _SUNDAY = 0, 3, 5, 6
_DAY = datetime.timedelta(days=1)


class Holidays(NamedTuple):
    """The days of one year: `closed` all day, `early` with a short session; a day is in one of them at most."""

    closed: frozenset[datetime.date]
    early: frozenset[datetime.date]


@functools.lru_cache(maxsize=512)
def holidays(group: str, year: int) -> Holidays:
    """The holidays of a group (a key of `GROUPS`) in a year.

    Raises: KeyError for an unknown group.
    """
    closed, early = GROUPS[group](year)
    shut = frozenset(closed)
    return Holidays(shut, frozenset(day for day in early if day not in shut and day.weekday() < _SATURDAY))


def easter(year: int) -> datetime.date:
    """Easter Sunday of the Gregorian calendar. Source: the anonymous algorithm of 1876 (Butcher's)."""
    golden, century, rest = year % 19, year // 100, year % 100
    leap_c, shift = divmod(century, 4)
    epact = (19 * golden + century - leap_c - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    leap_r, left = divmod(rest, 4)
    weekday = (32 + 2 * shift + 2 * leap_r - epact - left) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return datetime.date(year, month, day + 1)


_Days = tuple[list[datetime.date], list[datetime.date]]


def _none(year: int) -> _Days:
    return [], []


def _united_states(year: int) -> _Days:
    """Source: NYSE's holiday page; Juneteenth since 2022, Martin Luther King's day since 1998."""
    thanksgiving = _nth(year, 11, _THURSDAY, 4)
    independence, christmas = datetime.date(year, 7, 4), datetime.date(year, 12, 25)
    closed = [
        _nth(year, 2, _MONDAY, 3),
        easter(year) - 2 * _DAY,
        _last(year, 5, _MONDAY),
        _nearest(independence),
        _nth(year, 9, _MONDAY, 1),
        thanksgiving,
        _nearest(christmas),
    ]
    # A New Year's day on a Saturday is not made up for: the day before belongs to the old year's books.
    new_year = datetime.date(year, 1, 1)
    closed += [] if new_year.weekday() == _SATURDAY else [_nearest(new_year)]
    closed += [_nth(year, 1, _MONDAY, 3)] if year >= 1998 else []
    closed += [_nearest(datetime.date(year, 6, 19))] if year >= 2022 else []
    eve = [independence - _DAY] if independence.weekday() in range(1, 5) else []
    return closed, [*eve, thanksgiving + _DAY, christmas - _DAY]


def _canada(year: int) -> _Days:
    """Source: TSX' holiday page."""
    christmas = datetime.date(year, 12, 25)
    victoria = datetime.date(year, 5, 25)
    closed = [
        _next_free(datetime.date(year, 1, 1)),
        _nth(year, 2, _MONDAY, 3),
        easter(year) - 2 * _DAY,
        victoria - datetime.timedelta(days=victoria.weekday() or 7),
        _next_free(datetime.date(year, 7, 1)),
        _nth(year, 8, _MONDAY, 1),
        _nth(year, 9, _MONDAY, 1),
        _nth(year, 10, _MONDAY, 2),
        *_pair(christmas),
    ]
    return closed, [christmas - _DAY]


def _united_kingdom(year: int) -> _Days:
    """Source: the bank holidays of England, and LSE's half days."""
    christmas = datetime.date(year, 12, 25)
    sunday = easter(year)
    closed = [
        _next_free(datetime.date(year, 1, 1)),
        sunday - 2 * _DAY,
        sunday + _DAY,
        _nth(year, 5, _MONDAY, 1),
        _last(year, 5, _MONDAY),
        _last(year, 8, _MONDAY),
        *_pair(christmas),
    ]
    return closed, [christmas - _DAY, datetime.date(year, 12, 31)]


def _germany(year: int) -> _Days:
    """Source: Xetra's trading calendar."""
    sunday = easter(year)
    fixed = [(1, 1), (5, 1), (12, 24), (12, 25), (12, 26), (12, 31)]
    return [sunday - 2 * _DAY, sunday + _DAY, *(datetime.date(year, month, day) for month, day in fixed)], []


def _hong_kong(year: int) -> _Days:
    """Those of the solar calendar; the days of the lunar one trade here, though not in Hong Kong."""
    sunday = easter(year)
    fixed = [(1, 1), (5, 1), (7, 1), (10, 1)]
    closed = [sunday - 2 * _DAY, sunday - _DAY, sunday + _DAY, _tomb_sweeping(year)]
    closed += [_after_sunday(datetime.date(year, month, day)) for month, day in fixed]
    closed += [*_pair(datetime.date(year, 12, 25))]
    return closed, [datetime.date(year, 12, 24), datetime.date(year, 12, 31)]


def _christmas_only(year: int) -> _Days:
    """Markets that follow no country: closed on New Year's and Christmas Day."""
    return [datetime.date(year, 1, 1), datetime.date(year, 12, 25)], []


def _futures(year: int) -> _Days:
    """US futures close on New Year, Good Friday and Christmas and stop at noon on the other US holidays."""
    closed, early = _united_states(year)
    shut = {easter(year) - 2 * _DAY, _nearest(datetime.date(year, 12, 25))}
    shut |= {day for day in closed if (day.month, day.day) in ((1, 1), (1, 2))}
    return sorted(shut), [*(day for day in closed if day not in shut), *early]


GROUPS: dict[str, Callable[[int], _Days]] = {
    "none": _none, "us": _united_states, "us-futures": _futures, "ca": _canada, "uk": _united_kingdom,
    "de": _germany, "hk": _hong_kong, "forex": _christmas_only,
}  # fmt: skip


def _nth(year: int, month: int, weekday: int, nth: int) -> datetime.date:
    first = datetime.date(year, month, 1)
    return first + datetime.timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _last(year: int, month: int, weekday: int) -> datetime.date:
    after = _nth(year + month // 12, month % 12 + 1, weekday, 1)
    return after - datetime.timedelta(days=7)


def _nearest(day: datetime.date) -> datetime.date:
    """Saturday's holiday is kept on Friday, Sunday's on Monday."""
    return day + {_SATURDAY: -_DAY, _SUNDAY: _DAY}.get(day.weekday(), 0 * _DAY)


def _next_free(day: datetime.date) -> datetime.date:
    return next(each for each in _from(day) if each.weekday() < _SATURDAY)


def _after_sunday(day: datetime.date) -> datetime.date:
    return day + _DAY if day.weekday() == _SUNDAY else day


def _pair(christmas: datetime.date) -> tuple[datetime.date, datetime.date]:
    """Christmas and Boxing Day, or the working days that stand in for them."""
    first = _next_free(christmas)
    return first, _next_free(max(first, christmas) + _DAY)


def _tomb_sweeping(year: int) -> datetime.date:
    """The solar term Qingming, right for 1980 to 2099. Source: the usual century formula of solar terms."""
    short = year % 100
    return datetime.date(year, 4, int(short * 0.2422 + 4.81) - short // 4)


def _from(day: datetime.date) -> Iterator[datetime.date]:
    while True:
        yield day
        day += _DAY
