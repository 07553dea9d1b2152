"""Owns which chains of options there are, from the command to the end of the stream; chains survive restarts.

Takes no line and reads no data (`core.chains.feed` does), and does not know which options there are.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core import events
from ibkr_actor.core.chains.chain import Chain, ChainHolder
from ibkr_actor.core.chains.feed import ChainFeed
from ibkr_actor.core.chains.look_ups import ChainLookUps
from ibkr_actor.core.chains.silences import ChainSilences
from ibkr_actor.core.chains.store import read, row, write
from ibkr_actor.core.chains.window import ChainSpec, chain_name, read_spec
from ibkr_actor.core.codes.meaning import lookup
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import (
    Answer,
    CloseStream,
    CommandRef,
    Effect,
    HolderWrite,
    Instant,
    Publish,
    SetState,
)
from ibkr_actor.core.held import HeldStreams
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.watched import freshness_of
from ibkr_actor.core.messages import RequestRefused
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.subscriptions.waits import Waits
from ibkr_actor.schema.commands import Rejection, Reply
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import CHAIN, Stream
from ibkr_actor.schema.reference_commands import Chain as ChainCommand

# What options are written on.
_UNDERLYINGS: Final = frozenset({"STK", "IND", "FUT"})
# A chain may begin with a line for the underlying and one for an option.
_LINES_MIN: Final = 2
_BUSY_RETRY_S: Final = 30.0


class Chains:
    """All chains. Caller: `SubscriptionsCore` only."""

    def __init__(self, config: SubscriptionsConfig, book: LineBook, waits: Waits) -> None:
        self._config = config
        self._book = book
        self._waits = waits
        self._chains: dict[Stream, Chain] = {}
        self.held = HeldStreams(config, waits, self._chains, write=write, end=self._end)
        self.feed = book.lender = ChainFeed(book, self._chains, config.market_data_type, self.held.fail, waits.hint)
        self.silences = ChainSilences(config, self.feed)
        self.look_ups = ChainLookUps(config, book, self.feed, self.held.fail)

    def next_s(self) -> float | None:
        """When a lease runs out, or something is to be looked at."""
        times = (self.held.next_s(), self.look_ups.next_s(), self.feed.due_s)
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- commands

    def command(self, ref: CommandRef, command: ChainCommand, contract: Contract, now: Instant) -> list[Effect]:
        """Accepts a chain, or refuses it, before IB is asked anything."""
        try:
            spec = read_spec(command)
            holder = self._holder(ref, command, now)
        except ValueError as error:
            return [rejected(ref, Rejection("validation_error", str(error)))]
        name = chain_name(contract.instrument, spec)
        refusal = self._refusal(name, contract)
        if refusal is not None:
            return [rejected(ref, refusal)]
        effects, chain = self._open(name, spec, contract, now)
        kept = self.held.hold(chain, holder, now)
        key, note = self.held.key(chain), self._note(chain)
        reply = Reply(ref.id, ref.op, "accepted", [key], result={"chain": name}, note=note)
        effects = [Answer(ref, reply, (kept,)), *effects]
        waiting, active = ([], [chain.stream]) if chain.live else ([chain.stream], [])
        return [*effects, *self._waits.add(ref, waiting, active), *self.feed.look(now)]

    def _holder(self, ref: CommandRef, command: ChainCommand, now: Instant) -> ChainHolder:
        lease_s = self.held.lease_s(command.lease_s)
        most = self._config.chain_lines
        lines = most if command.lines is None else command.lines
        if not 0 < lines <= most:
            raise ValueError(f"lines is 1 to {most} (IBKR_OPTIONS_MAX_CONTRACTS)")
        return ChainHolder(ref.client, lease_s, ref.id, now.ns, lines)

    def _refusal(self, name: str, contract: Contract) -> Rejection | None:
        if contract.sec_type not in _UNDERLYINGS:
            text = f"{contract.instrument} is no stock, index or future, so there is no chain of options on it"
            return Rejection("unsupported", text)
        if Stream(CHAIN, name) in self._chains:
            return None
        if len(self._chains) >= self._config.chains_max:
            return Rejection("busy", f"{self._config.chains_max} chains are the most", None, True, _BUSY_RETRY_S)
        if self._book.room("level1") + self.feed.lent < _LINES_MIN:
            text = (
                f"{self._book.taken('level1')} of {self._book.slots('level1')} market data lines are taken "
                f"({self._book.holders_of('level1') or 'none held'}); a chain begins with {_LINES_MIN}"
            )
            return Rejection("line_limit", text, None, True, _BUSY_RETRY_S)
        return None

    def _open(self, name: str, spec: ChainSpec, contract: Contract, now: Instant) -> tuple[list[Effect], Chain]:
        found = self._chains.get(Stream(CHAIN, name))
        if found is not None:
            return [], found
        chain = Chain(name, spec, contract, self._config.chain_turns, self._config.market_data_type)
        self._chains[chain.stream] = chain
        effects = chain.set_state("pending", "", now) if self._book.conn is not None else []
        if self._book.conn is None:
            effects = chain.set_state("starved", "disconnect", now)
        return [*effects, *self.look_ups.look_up(chain)], chain

    def _note(self, chain: Chain) -> str | None:
        if self._book.conn is None:
            return "there is no connection to IB now; the chain is asked for as soon as there is"
        return chain.hint

    # ---- leaving

    def unsubscribe(
        self, client: str, instrument: str | None, name: str, now: Instant
    ) -> tuple[list[str], list[HolderWrite], list[Effect]]:
        """Ends the client's holding of one chain, of those on an instrument, or of all: keys, writes, what follows."""
        gone = [
            chain
            for chain in self._chains.values()
            if client in chain.holders
            and (not name or chain.name == name)
            and (instrument is None or chain.underlying.instrument == instrument)
        ]
        return self.held.leave(gone, client, now)

    def _end(self, chain: Chain, reason: str, now: Instant) -> list[Effect]:
        self.look_ups.forget(chain)
        effects = self.feed.close(chain, now)
        return [
            *effects,
            Publish([chain.end(reason, now.ns)]),
            SetState(chain.stream, "ended", reason, now.ns),
            CloseStream(chain.stream),
        ]

    def wake_up(self, now: Instant) -> list[Effect]:
        """Ends leases, looks up what is to be looked up again, and gives members their turns."""
        effects = self.held.expire(now) + self.look_ups.wake_up(now)
        if self.feed.due_s is not None and now.s >= self.feed.due_s:
            effects += self.feed.look(now)
        return effects

    # ---- data and refusals

    def owns(self, req_id: int) -> bool:
        """Whether the request is one of a chain."""
        return self.feed.owns(req_id)

    def take(self, event: events.MarketDataEvent, now: Instant) -> list[Effect]:
        """Takes in what came."""
        return self.feed.take(event, now)

    def after_burst(self, now: Instant) -> list[Effect]:
        """The records of what came in a burst."""
        items, alive = self.feed.after_burst(now)
        if not items:
            return []
        effects: list[Effect] = [Publish(items)]
        for chain in alive:
            effects += chain.set_state("live", "", now) + self._waits.came([chain.stream])
            effects += self.silences.heard(chain, now)
        return effects

    def error(self, event: events.ErrorNotice, now: Instant) -> list[Effect]:
        """What IB says of a request."""
        row = lookup(event.code, event.req_id)
        if row.effect == "starve":
            chain, key = self.feed.use_of(event.req_id)
            return self.silences.starved(chain, key, row.rejection or "silent", event.received_ns, now)
        return self.feed.error(event, now)

    def refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        """Pacing had no room for a request."""
        return self.feed.refused(message, now)

    # ---- the connection

    def session_up(self, now: Instant) -> list[Effect]:
        """Everything is asked for."""
        effects: list[Effect] = []
        for chain in self._chains.values():
            if chain.listed is None:
                chain.looking_up = False
                effects += chain.set_state("pending", "", now) + self.look_ups.look_up(chain)
        return effects + self.feed.look(now)

    def session_over(self, at_ns: int, now: Instant) -> list[Effect]:
        """The connection is gone and every request with it."""
        effects = self.feed.drop_all(now, forgotten=True)
        for chain in self._chains.values():
            chain.lose("disconnect", at_ns)
            effects += chain.set_state("starved", "disconnect", now)
        return effects

    def data_lost(self, at_ns: int, now: Instant) -> list[Effect]:
        """IB forgot what was asked: it is asked again."""
        effects = self.feed.drop_all(now, forgotten=True)
        for chain in self._chains.values():
            chain.lose("disconnect", at_ns)
            effects += chain.set_state("pending", "", now)
        return effects + self.feed.look(now)

    def upstream_down(self, at_ns: int, now: Instant) -> list[Effect]:
        """TWS lost IB: nothing comes."""
        effects: list[Effect] = []
        for chain in self._chains.values():
            if chain.live:
                chain.lose("disconnect", at_ns)
                effects += chain.set_state("starved", "upstream", now)
        return effects

    def upstream_up(self, now: Instant) -> list[Effect]:
        """IB kept what was asked: the next data says that a chain is alive."""
        effects: list[Effect] = []
        for chain in self._chains.values():
            if (chain.state, chain.reason) == ("starved", "upstream"):
                effects += chain.set_state("pending", "upstream_restored", now)
        return effects

    def stop(self, now: Instant) -> list[Effect]:
        """Gives the lines back but keeps the holders, which the next start restores."""
        effects = self.feed.drop_all(now, forgotten=False)
        for chain in self._chains.values():
            effects += chain.set_state("starved", "stopped", now)
        return effects

    # ---- restart

    def states(self) -> list[Effect]:
        """All states, said anew."""
        effects: list[Effect] = []
        for chain in self._chains.values():
            effects += [SetState(chain.stream, chain.state, chain.reason, chain.since_ns)] if chain.state else []
            effects += freshness_of(chain)
        return effects

    def restore(self, kept: HolderWrite, now: Instant) -> list[Effect]:
        """Takes up what was held before the process started, with a full lease.

        Raises:
            ValueError, msgspec.MsgspecError: the field is not a chain's.
        """
        name, client, stored = read(kept)
        effects, chain = self._open(name, stored.spec, stored.contract, now)
        lines = min(stored.lines, self._config.chain_lines)
        self.held.hold(chain, ChainHolder(client, stored.lease_s, stored.command_id, stored.since_ns, lines), now)
        return effects

    def listed(self, client: str, now: Instant) -> list[dict[str, object]]:
        """Rows of a `list`, of all chains or those that one client holds."""
        return [row(chain, self.held.key(chain), self.held.rows(chain, now)) for chain in self.held.of(client)]

    def status(self) -> dict[str, object]:
        """The chains' part of the status."""
        return {
            "open": len(self._chains),
            "members": sum(len(chain.turns) for chain in self._chains.values()),
            "lines": self.feed.lent,
        }
