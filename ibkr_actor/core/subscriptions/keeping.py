"""Owns what is kept in Redis of who holds what: taken up at a start, and written again when Redis has lost it.

Decides nothing about who may hold what.
"""

from __future__ import annotations

import msgspec

from ibkr_actor.core.boards.board import is_board
from ibkr_actor.core.boards.boards import Boards
from ibkr_actor.core.chains.chains import Chains
from ibkr_actor.core.chains.store import is_chain
from ibkr_actor.core.effects import Announce, Effect, Instant, WriteHolders, in_parts
from ibkr_actor.core.holders import read_holder
from ibkr_actor.core.kinds import ROWS
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.watched import freshness_of
from ibkr_actor.core.messages import RedisForgot, RestoreHolders
from ibkr_actor.core.subscriptions.holdings import Holdings
from ibkr_actor.core.subscriptions.subscribing import Subscribing, stated
from ibkr_actor.schema.records import System


class Keeping:
    """The `subscriptions` hash, and the states of streams. Caller: `SubscriptionsCore` only."""

    def __init__(
        self, book: LineBook, holdings: Holdings, subscribing: Subscribing, chains: Chains, boards: Boards
    ) -> None:
        self._book = book
        self._holdings = holdings
        self._subscribing = subscribing
        self._chains = chains
        self._boards = boards

    def say_again(self, message: RedisForgot, now: Instant) -> list[Effect]:
        """Writes all holders and states anew."""
        lines = [line for line in self._book.lines.values() if line.state]
        writes = self._holdings.writes() + self._chains.held.writes() + self._boards.held.writes()
        return [
            *(WriteHolders(part) for part in in_parts(writes)),
            *(stated(channel) for line in lines for channel in line.channels.values()),
            *(effect for line in lines for effect in freshness_of(line)),
            *self._chains.states(),
            *self._boards.states(),
        ]

    def restore(self, message: RestoreHolders, now: Instant) -> list[Effect]:
        """Takes up what was held before the process started, each with a full lease, in the old order."""
        stored = []
        unreadable: list[str] = []
        effects: list[Effect] = []
        for write in message.holders:
            try:
                if is_chain(write.field):
                    effects += self._chains.restore(write, now)
                    continue
                if is_board(write.field):
                    effects += self._boards.restore(write, now)
                    continue
                stream, holder, contract = read_holder(write)
                row = ROWS[stream.kind]
            except (ValueError, KeyError, msgspec.MsgspecError):
                unreadable.append(write.field)
                continue
            stored.append((stream, row, holder, contract))
        for stream, row, holder, contract in sorted(stored, key=lambda found: (-found[2].priority, found[2].since_ns)):
            channel = self._subscribing.restored(stream.instrument, row, contract, holder)
            channel.line.proven = True
            tail = message.tails.get(stream.name, ())
            self._holdings.take_up(channel, self._subscribing.own(holder, channel), tail, now)
        for line in self._book.by_priority():
            effects += self._book.ask(line, now)
        if unreadable:
            text = f"{len(unreadable)} fields of the subscriptions hash cannot be read, such as {unreadable[0]!r}."
            effects.append(Announce(System(0, 0, now.ns, "command", "holders_unreadable", "subscriptions", text)))
        return effects
