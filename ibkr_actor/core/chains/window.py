"""Owns what a chain is meant to hold: its wish in words, its expiries, and the window of strikes around the price.

Pure functions and one small state, the price the window was laid around; knows no line and no contract.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from ibkr_actor.schema.instruments import strike_text
from ibkr_actor.schema.reference_commands import Chain

# An expiry is over when its day is over in New York, at 05:00 in UTC at the latest.
_DAY_ENDS_NS: Final = 5 * 3600 * 1_000_000_000
_DAY_NS: Final = 86_400 * 1_000_000_000
_DAY: Final = re.compile(r"[0-9]{8}")
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,20}")
_EXPIRIES_MAX: Final = 200
_MONEYNESS_DEFAULT: Final = 0.2
_MONEYNESS_MAX: Final = 10.0
# By which part of half the window the price must have moved before the window is laid anew: less would flap.
_HYSTERESIS: Final = 0.1


class ChainSpec(Struct, frozen=True):
    """A chain as it was wished for. `expiry` is `nearest`, `all`, a number of the next ones, or days."""

    expiry: str | int | tuple[str, ...]
    right: str
    strike_range: tuple[float, float] | None
    moneyness: float | None
    exchange: str = ""
    trading_class: str = ""

    @property
    def rights(self) -> str:
        """C, P or CP."""
        return "CP" if self.right == "both" else self.right


def read_spec(command: Chain) -> ChainSpec:
    """The wish of a command.

    Raises:
        ValueError: a field is out of range; the message says which.
    """
    strikes, moneyness = command.strike_range, command.moneyness_range
    if strikes is not None and not (all(map(math.isfinite, strikes)) and strikes[0] <= strikes[1]):
        raise ValueError("strike_range is two prices, the lower one first")
    if moneyness is None and strikes is None:
        moneyness = _MONEYNESS_DEFAULT
    if moneyness is not None and not 0 < moneyness <= _MONEYNESS_MAX:
        raise ValueError(f"moneyness_range is a part of the underlying's price up to {_MONEYNESS_MAX:g}, such as 0.2")
    for name, text in (("exchange", command.exchange), ("trading_class", command.trading_class)):
        if text and not _WORD.fullmatch(text):
            raise ValueError(f"{name} is one of IB's names, such as SMART or SPXW")
    expiry = _read_expiry(command.expiry)
    return ChainSpec(expiry, command.right, strikes, moneyness, command.exchange, command.trading_class)


def _read_expiry(expiry: str | int | list[str]) -> str | int | tuple[str, ...]:
    text = "expiry is nearest, all, a day such as 20261218, a list of days, or how many of the next expiries"
    if isinstance(expiry, int):
        if not 0 < expiry <= _EXPIRIES_MAX:
            raise ValueError(text)
        return expiry
    if isinstance(expiry, str) and expiry in ("nearest", "all"):
        return expiry
    days = (expiry,) if isinstance(expiry, str) else tuple(sorted(set(expiry)))
    if not 0 < len(days) <= _EXPIRIES_MAX or not all(_DAY.fullmatch(day) for day in days):
        raise ValueError(text)
    return days


def chain_name(instrument: str, spec: ChainSpec) -> str:
    """The name of a chain, the same for equal wishes: it ends the key of its stream."""
    expiry = "+".join(spec.expiry) if isinstance(spec.expiry, tuple) else str(spec.expiry)
    parts = [instrument, expiry, spec.rights]
    if spec.strike_range is not None:
        parts.append("s" + "to".join(strike_text(strike) for strike in spec.strike_range))
    if spec.moneyness is not None:
        parts.append("m" + strike_text(spec.moneyness))
    if spec.trading_class:
        parts.append("c" + spec.trading_class)
    if spec.exchange:
        parts.append("x" + spec.exchange)
    return "~".join(parts)


def today(now_ns: int) -> str:
    """The day (YYYYMMDD) from which on expiries are not over."""
    return datetime.datetime.fromtimestamp((now_ns - _DAY_ENDS_NS) // 1_000_000_000, datetime.UTC).strftime("%Y%m%d")


def until_roll_s(now_ns: int) -> float:
    """How long until the expiries of a day are over."""
    return (_DAY_NS - (now_ns - _DAY_ENDS_NS) % _DAY_NS) / 1e9


def choose_expiries(expiry: str | int | tuple[str, ...], listed: Iterable[str], day: str) -> list[str]:
    """Those that are meant of what is listed, ascending, none before `day` (all as YYYYMMDD)."""
    coming = sorted({one for one in listed if one >= day})
    if isinstance(expiry, tuple):
        return [one for one in coming if one in expiry]
    if isinstance(expiry, int):
        return coming[:expiry]
    return coming if expiry == "all" else coming[:1]


class Window:
    """The strikes that are wanted now. `anchor` is the price the window was last laid around."""

    def __init__(self, spec: ChainSpec) -> None:
        self._spec = spec
        self.anchor: float | None = None

    @property
    def needs_spot(self) -> bool:
        """Whether there is no window without a price."""
        return self._spec.moneyness is not None

    def follow(self, spot: float) -> bool:
        """Lays the window around the price, if it has moved enough; whether it did."""
        moneyness = self._spec.moneyness
        if self.anchor is not None:
            reach = abs(self.anchor) * (_MONEYNESS_DEFAULT if moneyness is None else moneyness)
            if abs(spot - self.anchor) <= reach * _HYSTERESIS:
                return False
        self.anchor = spot
        return True

    def strikes(self, listed: Sequence[float], spot: float | None) -> list[float]:
        """Those of the listed strikes (ascending) that lie in the window, with the ones next to the price in any case.

        None as long as a price is needed and not known, nor where `strike_range` ends far from the price.
        """
        low, high = self._spec.strike_range or (-math.inf, math.inf)
        wanted = [strike for strike in listed if low <= strike <= high]
        if self._spec.moneyness is None:
            return wanted
        if self.anchor is None:
            return []
        reach = abs(self.anchor) * self._spec.moneyness
        inside = {strike for strike in wanted if abs(strike - self.anchor) <= reach}
        price = self.anchor if spot is None else spot
        if not low <= price <= high:
            return sorted(inside)
        inside |= set([strike for strike in wanted if strike <= price][-1:])
        inside |= set([strike for strike in wanted if strike >= price][:1])
        return sorted(inside)
