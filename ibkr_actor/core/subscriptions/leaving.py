"""Owns what `unsubscribe` and `renew` do to the streams and chains that a client holds.

Takes no line: those that nobody holds any more are given back by `core.subscriptions.holdings`, `core.chains.chains`
and `core.boards.boards`.
"""

from __future__ import annotations

from ibkr_actor.core.boards.boards import Boards
from ibkr_actor.core.chains.chains import Chains
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Answer, CommandRef, Effect, HolderWrite, Instant
from ibkr_actor.core.holders import holder_delete
from ibkr_actor.core.kinds import known_kinds
from ibkr_actor.core.messages import CommandsReadable
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.subscriptions.holdings import Holdings
from ibkr_actor.schema.commands import Rejection, Reply, Unsubscribe
from ibkr_actor.schema.keys import BULLETIN, CHAIN, OWN_COMMAND, SCAN


class Leaving:
    """The commands of clients that hold something. Caller: `SubscriptionsCore` only."""

    def __init__(self, config: SubscriptionsConfig, holdings: Holdings, chains: Chains, boards: Boards) -> None:
        self._config = config
        self._holdings = holdings
        self._chains = chains
        self._boards = boards

    def unsubscribe(self, ref: CommandRef, command: Unsubscribe, instrument: str | None, now: Instant) -> list[Effect]:
        """Removes the client as a holder of what the command means."""
        wanted = [kind for kind in command.kinds or () if kind not in OWN_COMMAND]
        nothing_said = not (command.kinds or command.chain or command.scan)
        try:
            if wanted:
                wanted = known_kinds(wanted, use_rth=self._config.use_rth)
        except ValueError as error:
            return [rejected(ref, Rejection("validation_error", str(error)))]
        gone = [
            channel
            for stream, channel in self._holdings.of(ref.client).items()
            if (instrument is None or stream.instrument == instrument) and (nothing_said or stream.kind in wanted)
        ]
        keys: list[str] = []
        writes: list[HolderWrite] = []
        effects: list[Effect] = []
        if nothing_said or command.chain or CHAIN in (command.kinds or ()):
            keys, writes, effects = self._chains.unsubscribe(ref.client, instrument, command.chain, now)
        if instrument is None:
            boards = frozenset({SCAN, BULLETIN}) if nothing_said else frozenset(command.kinds or ())
            left = self._boards.unsubscribe(ref.client, boards, command.scan, now)
            keys, writes, effects = keys + left[0], writes + left[1], effects + left[2]
        for channel in gone:
            effects += self._holdings.leave(channel, ref.client, "no_holders", now)
        streams = [channel.stream for channel in gone]
        names = self._holdings.names(streams) + keys
        note = None if names else "nothing of it was held"
        writes += [holder_delete(stream, ref.client) for stream in streams]
        return [Answer(ref, Reply(ref.id, ref.op, "accepted", names, note=note), tuple(writes)), *effects]

    def renew(self, ref: CommandRef, now: Instant) -> list[Effect]:
        """Starts every lease of the client anew."""
        keys = self._holdings.names(self._holdings.renew(ref.client, now)) + self._chains.held.renew(ref.client, now)
        keys += self._boards.held.renew(ref.client, now)
        note = f"{len(keys)} leases renewed" if keys else "nothing is held"
        return [Answer(ref, Reply(ref.id, ref.op, "accepted", keys, note=note))]

    def readable(self, message: CommandsReadable, now: Instant) -> list[Effect]:
        """Commands could not be read for a while, so that nobody could renew: every lease starts anew."""
        self._holdings.renew_all(now)
        self._chains.held.renew_all(now)
        self._boards.held.renew_all(now)
        return []
