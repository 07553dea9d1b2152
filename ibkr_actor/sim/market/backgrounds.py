"""Owns the background of each instrument that level 1 was asked for, made when first needed.

Must not compute anything itself.
"""

from __future__ import annotations

from collections import OrderedDict

from ibkr_actor.sim.market.background import Background
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.world import World

# Least recently asked for goes first: a client may walk through whole option chains.
_KEPT = 2_000


class Backgrounds:
    """con_id -> background."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_con_id: OrderedDict[int, Background] = OrderedDict()

    def of(self, instrument: Instrument) -> Background:
        found = self._by_con_id.get(instrument.con_id)
        if found is None:
            under = None
            if instrument.price_con_id:
                under = self._world.tape(self._world.catalogue.instrument(instrument.price_con_id))
            found = Background(instrument, self._world.tape(instrument), under, self._world.settings.seed)
            self._by_con_id[instrument.con_id] = found
            if len(self._by_con_id) > _KEPT:
                self._by_con_id.popitem(last=False)
        self._by_con_id.move_to_end(instrument.con_id)
        return found
