"""Owns the tapes and calendars of one simulated market: made when first asked for, forgotten when there are too many.

Must not compute anything; a forgotten tape comes back the same.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from ibkr_actor.sim.market.calendar import Calendar, MarketHours
from ibkr_actor.sim.market.combination import Combination, Part
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.leaves import rhythm_of
from ibkr_actor.sim.market.path import Path, Wander
from ibkr_actor.sim.market.quoting import Quoting
from ibkr_actor.sim.market.tape import Tape

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
# Each tape may hold some megabytes once it was read through.
_TAPES = 512
_CALENDARS = 2_048


class Finds(Protocol):
    """Whoever knows instruments by con_id and continuous futures by day; raises KeyError for what is unknown."""

    def instrument(self, con_id: int) -> Instrument: ...

    def front(self, continuous: Instrument, day: datetime.date) -> Instrument: ...


class Tapes:
    """The tapes of one seed. `ticks_per_s` says how much happens; 0 as if 4."""

    def __init__(self, finds: Finds, *, seed: int, ticks_per_s: float, market_hours: MarketHours) -> None:
        self._finds = finds
        self._seed = seed
        self._ticks_per_s = ticks_per_s
        self._market_hours = market_hours
        self._tapes: OrderedDict[int, Tape] = OrderedDict()
        self._calendars: OrderedDict[int, Calendar] = OrderedDict()

    def tape(self, instrument: Instrument) -> Tape:
        """Raises: KeyError when its underlying or a leg is unknown, ValueError when it is made of itself."""
        return self._tape(instrument, ())

    def calendar(self, instrument: Instrument) -> Calendar:
        return _kept(self._calendars, instrument.con_id, _CALENDARS, lambda: Calendar(instrument, self._market_hours))

    def _tape(self, instrument: Instrument, above: tuple[int, ...]) -> Tape:
        if instrument.con_id in above:
            raise ValueError(f"{instrument.key} is made of itself")
        return _kept(self._tapes, instrument.con_id, _TAPES, lambda: self._make(instrument, above))

    def _make(self, instrument: Instrument, above: tuple[int, ...]) -> Tape:
        name = self._name(instrument)
        rhythm = rhythm_of(instrument, self._ticks_per_s)
        above = (*above, instrument.con_id)
        under = None
        if instrument.price_model == "legs":
            path: Path = self._combination(instrument, name, above, dense=rhythm.dense)
        elif instrument.price_model == "own":
            wander = Wander(name, instrument.start_price / float(instrument.min_tick), instrument.volatility)
            path = Path(name, wander.ticks, wander.swing, dense=rhythm.dense)
        else:
            tape = self._tape(self._finds.instrument(instrument.price_con_id), above)
            path, under = tape.path, tape.quoting
        meant = partial(self._finds.front, instrument) if instrument.price_model == "front" else None
        quoting = Quoting(instrument, name, under, meant)
        calendar = self.calendar(instrument)
        return Tape(instrument, name=name, calendar=calendar, path=path, quoting=quoting, rhythm=rhythm)

    def _name(self, instrument: Instrument) -> str:
        """All futures of a family share one: a continuous future is so traded just as its front month is."""
        if instrument.price_model in ("forward", "front"):
            return f"{self._seed}:{instrument.exchange}:{instrument.trading_class}:{instrument.price_con_id}"
        return f"{self._seed}:{instrument.con_id}"

    def _combination(self, instrument: Instrument, name: str, above: tuple[int, ...], *, dense: bool) -> Path:
        parts = []
        for leg in instrument.legs:
            tape = self._tape(self._finds.instrument(leg.con_id), above)
            parts.append(Part(tape.path, tape.quoting, leg.ratio if leg.action == "BUY" else -leg.ratio))
        return Combination(name, parts, float(instrument.min_tick), self.calendar(instrument), dense=dense)


def _kept(cache: OrderedDict[_Key, _Value], key: _Key, at_most: int, make: Callable[[], _Value]) -> _Value:
    found = cache.get(key)
    if found is None:
        found = make()
        cache[key] = found
        if len(cache) > at_most:
            cache.popitem(last=False)
    else:
        cache.move_to_end(key)
    return found
