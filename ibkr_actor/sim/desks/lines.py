"""Owns the open subscriptions of all clients: by client and request id, and by instrument.

Must not know what flows on them.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ibkr_actor.sim.clock import Entry
from ibkr_actor.sim.market.instruments import Instrument

if TYPE_CHECKING:
    from ibkr_actor.sim.market.background import Background
    from ibkr_actor.sim.session import Session


class Kind(enum.Enum):
    """What was subscribed; the value is the id of the request that cancels it."""

    MARKET_DATA = 2
    DEPTH = 11
    REAL_TIME_BARS = 51
    TICK_BY_TICK = 98


@dataclasses.dataclass(slots=True, eq=False)
class Line:
    """One subscription. `view` is the tick-by-tick type or the bars' what_to_show.

    `exchange` is where it was asked for; `owners` are those whose rows a book names.
    `reduced` lines get only the ticks that need no permission. `regular_only`
    lines of bars rest outside regular hours. `background` is there for market data and for what is computed.
    """

    session: Session
    req_id: int
    kind: Kind
    instrument: Instrument
    view: str = ""
    generic_ticks: frozenset[int] = frozenset()
    market_data_type: int = 1
    rows: int = 0
    smart_depth: bool = False
    exchange: str = ""
    owners: tuple[str, ...] = ()
    reduced: bool = False
    ignore_size: bool = False
    regular_only: bool = False
    background: Background | None = None
    last_timestamp_s: int = 0
    timer: Entry | None = None

    @property
    def delayed(self) -> bool:
        return self.market_data_type >= 3


class Lines:
    """(client, req_id) -> line, and con_id -> lines. Lines leave by `remove` or with their session."""

    def __init__(self, on_removed: Callable[[Line], None] = lambda _: None) -> None:
        self._on_removed = on_removed
        self._added: list[Line] = []
        self._by_request: dict[tuple[int, int], Line] = {}
        self._by_con_id: dict[int, list[Line]] = {}

    def add(self, line: Line) -> None:
        self._by_request[(line.session.number, line.req_id)] = line
        self._added.append(line)
        self._by_con_id.setdefault(line.instrument.con_id, []).append(line)

    def get(self, session: Session, req_id: int) -> Line | None:
        return self._by_request.get((session.number, req_id))

    def remove(self, line: Line) -> None:
        if self._by_request.pop((line.session.number, line.req_id), None) is None:
            return
        if line.timer is not None:
            line.timer.cancel()
        self._on_removed(line)
        remaining = self._by_con_id[line.instrument.con_id]
        remaining.remove(line)
        if not remaining:
            del self._by_con_id[line.instrument.con_id]

    def take_added(self) -> list[Line]:
        """The lines opened since the last call, in order; some may be closed already."""
        added, self._added = self._added, []
        return added

    def of_session(self, session: Session) -> list[Line]:
        return [line for line in self._by_request.values() if line.session is session]

    def of_instrument(self, instrument: Instrument) -> list[Line]:
        return list(self._by_con_id.get(instrument.con_id, ()))

    def count(self, *kinds: Kind) -> int:
        """Open lines of these kinds, over all clients."""
        return sum(1 for line in self._by_request.values() if line.kind in kinds)

    def __iter__(self) -> Iterator[Line]:
        return iter(list(self._by_request.values()))

    def __len__(self) -> int:
        return len(self._by_request)
