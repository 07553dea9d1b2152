"""Owns the way of events to those that ask IB without being a line: snapshots, computations, chains, boards.

Decides nothing: it only knows which of them a req_id belongs to.
"""

from __future__ import annotations

from ibkr_actor.core import events
from ibkr_actor.core.boards.boards import Boards
from ibkr_actor.core.chains.chains import Chains
from ibkr_actor.core.effects import CommandRef, Effect, Instant
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.messages import FarmChanged, RequestRefused
from ibkr_actor.core.reference.calcs import Calcs
from ibkr_actor.core.subscriptions.snapshots import Snapshots
from ibkr_actor.schema.commands import Snapshot
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.reference_commands import BoardCommand, CalcIv, CalcPrice, Chain


class Guests:
    """Who else may own a request of the subscriptions actor. Caller: `SubscriptionsCore` only."""

    def __init__(self, book: LineBook, snapshots: Snapshots, calcs: Calcs, chains: Chains, boards: Boards) -> None:
        self._book = book
        self._snapshots = snapshots
        self._calcs = calcs
        self._chains = chains
        self._boards = boards

    def command(
        self,
        ref: CommandRef,
        command: Snapshot | Chain | BoardCommand | CalcIv | CalcPrice,
        contract: Contract | None,
        now: Instant,
    ) -> list[Effect]:
        """A command that one of them does."""
        if isinstance(command, BoardCommand):
            return self._boards.command(ref, command, now)
        assert contract is not None
        match command:
            case Snapshot():
                return self._snapshots.command(ref, command, contract, self._book.conn, now)
            case Chain():
                return self._chains.command(ref, command, contract, now)
            case _:
                return self._calcs.command(ref, command, contract, now)

    def take(self, event: events.MarketDataEvent, now: Instant) -> list[Effect] | None:
        """An event that is no line's; None when it is nobody's."""
        req_id = event.req_id
        if self._chains.owns(req_id):
            return self._chains.take(event, now)
        if self._snapshots.owns(req_id):
            return self._snapshots.take(event, self._book.conn)
        if self._calcs.owns(req_id):
            return self._calcs.take(event)
        return None

    def error(self, event: events.ErrorNotice, now: Instant) -> list[Effect] | None:
        """What IB says of a request; None when it is nobody's here."""
        req_id = event.req_id
        if self._chains.owns(req_id):
            return self._chains.error(event, now)
        if self._boards.feed.owns(req_id):
            return self._boards.feed.error(event, now)
        if self._snapshots.owns(req_id):
            return self._snapshots.error(event, self._book.conn)
        if self._calcs.owns(req_id):
            return self._calcs.questions.error(event)
        return None

    def refused(self, message: RequestRefused, now: Instant) -> list[Effect] | None:
        """Pacing had no room for a request; None when it is nobody's here."""
        req_id = message.req_id
        if self._chains.owns(req_id):
            return self._chains.refused(message, now)
        if self._boards.feed.owns(req_id):
            return self._boards.feed.refused(message, now)
        if self._snapshots.owns(req_id):
            return self._snapshots.refused(message)
        if self._calcs.owns(req_id):
            return self._calcs.questions.refused(message)
        return None

    def sent(self, req_id: int, now: Instant) -> list[Effect]:
        """Pacing let a request go."""
        self._chains.feed.sent(req_id, now)
        return self._boards.feed.sent(req_id, now)

    def farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        """A farm went or is back: scans are served by those of history."""
        if message.family == "history":
            return self._boards.feed.farm(message, now)
        return self._calcs.questions.farm(message)

    def session_up(self, now: Instant) -> list[Effect]:
        """What waits is asked."""
        asked = self._calcs.questions.session(self._book.conn) + self._chains.session_up(now)
        return asked + self._boards.feed.session_up(now)

    def session_over(self, at_ns: int, now: Instant) -> list[Effect]:
        """The connection is gone."""
        effects = self._snapshots.end_all("the connection to IB was lost")
        effects += self._calcs.questions.session(None) + self._chains.session_over(at_ns, now)
        return effects + self._boards.feed.session_over(at_ns, now)

    def data_lost(self, at_ns: int, now: Instant) -> list[Effect]:
        """IB forgot what it was asked."""
        effects = self._snapshots.end_all("IB forgot what it was asked") + self._chains.data_lost(at_ns, now)
        return effects + self._calcs.questions.session(self._book.conn) + self._boards.feed.data_lost(at_ns, now)

    def upstream_down(self, at_ns: int, now: Instant) -> list[Effect]:
        """TWS lost IB."""
        return self._chains.upstream_down(at_ns, now) + self._boards.feed.upstream_down(at_ns, now)

    def upstream_up(self, now: Instant) -> list[Effect]:
        """TWS has IB again."""
        return self._chains.upstream_up(now) + self._boards.feed.upstream_up(now)

    def wake_up(self, now: Instant) -> list[Effect]:
        """Whatever is due."""
        effects = self._snapshots.wake_up(now) + self._calcs.questions.wake_up(now)
        return effects + self._chains.wake_up(now) + self._boards.wake_up(now)

    def next_s(self) -> float | None:
        """When something is due."""
        times = (
            self._snapshots.deadlines.next_s(),
            self._calcs.questions.deadlines.next_s(),
            self._chains.next_s(),
            self._boards.next_s(),
        )
        return min((at_s for at_s in times if at_s is not None), default=None)

    def stop(self, now: Instant) -> list[Effect]:
        """Gives everything back; what a restart takes up again is kept."""
        effects = self._snapshots.end_all("the sidecar stops") + self._calcs.questions.stop()
        return effects + self._chains.stop(now) + self._boards.feed.stop(now)
