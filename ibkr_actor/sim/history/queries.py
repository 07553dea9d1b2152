"""Owns the open queries of history of all clients: who asked, what ends them, and how many there are.

Must not answer or judge a request.
"""

from __future__ import annotations

import dataclasses

import anyio

from ibkr_actor.sim.history.updates import Ticker
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.session import Session


@dataclasses.dataclass(slots=True, eq=False)
class Query:
    """One request that is not over. `cancel_id` is the id of the message that cancels it."""

    session: Session
    req_id: int
    cancel_id: int
    instrument: Instrument
    scope: anyio.CancelScope | None = None
    ticker: Ticker | None = None
    answered: bool = False


class Queries:
    """(client, req_id) -> query."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], Query] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, query: Query) -> None:
        self._open[query.session.number, query.req_id] = query

    def get(self, session: Session, req_id: int) -> Query | None:
        return self._open.get((session.number, req_id))

    def remove(self, query: Query) -> None:
        """End whatever still goes on for it."""
        self._open.pop((query.session.number, query.req_id), None)
        if query.ticker is not None:
            query.ticker.stop()
        if query.scope is not None:
            query.scope.cancel()

    def of_session(self, session: Session) -> list[Query]:
        return [query for query in self._open.values() if query.session is session]

    def kept(self) -> list[Query]:
        """Those that are kept up to date."""
        return [query for query in self._open.values() if query.ticker is not None]
