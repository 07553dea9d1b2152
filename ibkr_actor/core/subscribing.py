"""Owns what a `subscribe` needs before it is accepted, and what accepting it does.

Reads no event from IB.
"""

from __future__ import annotations

import math
from collections import Counter

from msgspec import UNSET

from ibkr_actor.core import translate
from ibkr_actor.core.backfills import Backfills, past_of, read_wish
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Answer, CommandRef, Effect, Instant, Publish, SetState
from ibkr_actor.core.heals import can_heal
from ibkr_actor.core.holders import Holder
from ibkr_actor.core.holdings import Holdings
from ibkr_actor.core.hours import market_at
from ibkr_actor.core.joining import Wish
from ibkr_actor.core.kinds import POOL_OF, ROWS, KindRow, known_kinds, why_not
from ibkr_actor.core.line_book import LineBook
from ibkr_actor.core.lines import Channel, Item, Line
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.silences import freshness_of
from ibkr_actor.core.waits import Waits
from ibkr_actor.schema.commands import Rejection, Reply, Subscribe
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import FLAG_BUILT

_GENERIC_TICKS_MAX = 50
# A line may free whenever another client leaves or its lease ends.
_LINE_RETRY_S = 30.0


class Refused(Exception):
    """A subscribe that cannot be accepted."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


class Subscribing:
    """The one command that takes lines. Caller: `SubscriptionsCore`; affects its lines, holders and waits."""

    def __init__(
        self, config: SubscriptionsConfig, book: LineBook, holdings: Holdings, waits: Waits, backfills: Backfills
    ) -> None:
        self._config = config
        self._backfills = backfills
        self._book = book
        self._holdings = holdings
        self._waits = waits

    def subscribe(self, ref: CommandRef, command: Subscribe, contract: Contract, now: Instant) -> list[Effect]:
        """Accepts the whole command or refuses the whole of it, before IB is asked anything."""
        try:
            rows = self._rows(command, contract)
            holder = self._holder(ref, command, rows, now)
            wish = self._wish(command, rows, contract.instrument, now)
            self._check_room(ref, rows, contract.instrument)
        except Refused as refusal:
            return [rejected(ref, refusal.rejection)]
        return self._accept(ref, rows, holder, contract, wish, now)

    def channel(self, instrument: str, row: KindRow, contract: Contract, *, opened_by: str) -> Channel:
        """The channel of a kind, with its line, made when it is not there."""
        key = (instrument, row.slot)
        line = self._book.lines.get(key)
        if line is None:
            line = self._book.open(key, row, contract, opened_by=opened_by)
        return line.channels.get(row.kind) or line.add_channel(row)

    # ---- checks

    def _rows(self, command: Subscribe, contract: Contract) -> list[KindRow]:
        try:
            kinds = known_kinds(command.kinds, use_rth=self._config.use_rth)
        except ValueError as error:
            raise _invalid(str(error)) from None
        for kind in kinds:
            reason = why_not(kind, contract.sec_type, contract.exchange)
            if reason is not None:
                raise Refused(Rejection("unsupported", f"{kind} of {contract.instrument}: {reason}"))
        return [ROWS[kind] for kind in kinds]

    def _holder(self, ref: CommandRef, command: Subscribe, rows: list[KindRow], now: Instant) -> Holder:
        lease_s = self._config.lease_s if command.lease_s is UNSET else command.lease_s
        if not math.isfinite(lease_s) or lease_s < 0:
            raise _invalid("lease_s is a number of seconds, 0 for until unsubscribed")
        ticks = frozenset(command.generic_ticks)
        if ticks and not any(row.line_type == "level1" for row in rows):
            raise _invalid("generic_ticks come with the kinds quote, tick and greeks only")
        if ticks and self._config.snapshot_mode:
            raise _invalid("IB takes no generic_ticks in snapshot mode")
        if len(ticks) > _GENERIC_TICKS_MAX or any(not 0 < tick < 10_000 for tick in ticks):
            raise _invalid(f"generic_ticks are at most {_GENERIC_TICKS_MAX} of IB's numbers, such as 233")
        if command.heal is True and not any(can_heal(row) for row in rows):
            kinds = ", ".join(row.kind for row in rows)
            raise Refused(Rejection("unsupported", f"IB has no history that gaps of {kinds} could be refilled from"))
        heal = self._config.heal if command.heal is UNSET else command.heal
        return Holder(ref.client, min(lease_s, self._config.lease_max_s), ticks, ref.id, now.ns, heal)

    def _wish(self, command: Subscribe, rows: list[KindRow], instrument: str, now: Instant) -> Wish | None:
        """What of the past the streams begin with."""
        if not command.backfill:
            return None
        try:
            wish = read_wish(command.backfill, self._config.backfill_days, now.ns)
        except ValueError as error:
            raise _invalid(str(error)) from None
        for row in rows:
            if past_of(row) is None:
                text = f"IB has no history that {row.kind} could begin with; subscribe to it without backfill"
                raise Refused(Rejection("unsupported", text))
            line = self._book.lines.get((instrument, row.slot))
            if line is not None and row.kind in line.channels:
                text = f"{row.kind}:{instrument} is open already, and nothing can be put before what it holds"
                raise Refused(Rejection("unsupported", f"{text}; ask `history` for what was before"))
        return wish

    def _check_room(self, ref: CommandRef, rows: list[KindRow], instrument: str) -> None:
        held = self._holdings.of(ref.client)
        new = sum(1 for row in rows if not any(s.kind == row.kind and s.instrument == instrument for s in held))
        if self._holdings.count + new > self._config.holders_max:
            raise _busy(f"{self._config.holders_max} holders are the most that are kept")
        if self._waits.count >= self._config.waiting_max:
            raise _busy(f"{self._config.waiting_max} commands are waiting for their first data")
        slots = {row.slot: row for row in rows if (instrument, row.slot) not in self._book.lines}
        needed = Counter(POOL_OF[row.line_type] for row in slots.values())
        for line_type, pool in POOL_OF.items():
            if needed[pool] <= self._book.room(line_type):
                continue
            text = (
                f"{self._book.taken(line_type)} of {self._book.slots(line_type)} {pool} are taken "
                f"({self._book.holders_of(line_type) or 'none held'}); {needed[pool]} more are needed"
            )
            raise Refused(Rejection("line_limit", text, None, True, _LINE_RETRY_S))

    # ---- accepting

    def _accept(
        self,
        ref: CommandRef,
        rows: list[KindRow],
        holder: Holder,
        contract: Contract,
        wish: Wish | None,
        now: Instant,
    ) -> list[Effect]:
        before: dict[Line, frozenset[int] | None] = {}
        fresh: list[Channel] = []
        channels: list[Channel] = []
        for row in rows:
            channel = self.channel(contract.instrument, row, contract, opened_by=ref.client)
            before.setdefault(channel.line, _ticks_of(channel.line, ref.client))
            if not channel.holders:
                fresh.append(channel)
            channels.append(channel)
        writes = tuple(self._holdings.add(channel, self._own(holder, channel), now) for channel in channels)
        joining = [channel for channel in fresh if channel.line.state]
        if wish is not None:
            for channel in fresh:
                self._backfills.begin(channel, wish, ref.client, now)
        effects: list[Effect] = []
        for line, ticks in before.items():
            effects += self._request(line, ref.client, ticks, now)
        effects += self._join(joining)
        names = self._holdings.names([channel.stream for channel in channels])
        reply = Reply(ref.id, ref.op, "accepted", names, note=self._note(channels, now))
        return [Answer(ref, reply, writes), *effects, *self._wait(ref, channels)]

    def _own(self, holder: Holder, channel: Channel) -> Holder:
        """The holder of one channel: generic ticks belong to level 1, and who held it already keeps its place."""
        ticks = holder.generic_ticks if channel.row.line_type == "level1" else frozenset[int]()
        known = channel.holders.get(holder.client)
        since_ns = holder.since_ns if known is None else known.since_ns
        return Holder(holder.client, holder.lease_s, ticks, holder.command_id, since_ns, holder.heal)

    def _request(self, line: Line, client: str, before: frozenset[int] | None, now: Instant) -> list[Effect]:
        if line.req_id is None and line.candidate is None:
            # A line that is to be asked again at a set time keeps that time.
            return [] if (line.key, "again") in self._book.timers else self._book.ask(line, now)
        asked = line.candidate.generic_ticks if line.candidate is not None else line.generic_ticks
        return [] if line.wanted_ticks() <= asked else self._book.widen(line, {client: before}, now)

    def _join(self, joining: list[Channel]) -> list[Effect]:
        """A stream that opens on a line that is there already starts with its state and with what the line knows."""
        effects: list[Effect] = []
        items: list[Item] = []
        for channel in joining:
            line = channel.line
            channel.published = line.live
            effects.append(SetState(channel.stream, line.state, line.reason, line.since_ns))
            effects += freshness_of(line, channel.stream)
            if channel is line.quote and line.live:
                quote = translate.known_quote(line.top, line.con_id, line.feed, line.flags)
                if quote is not None:
                    items.append((channel.stream, quote))
            if channel is line.greeks and line.live:
                flags = line.flags | FLAG_BUILT
                known = (translate.greeks(event, line.con_id, line.feed, flags) for event in line.computed.values())
                items.extend((channel.stream, record) for record in known)
        return [*effects, Publish(items)] if items else effects

    def _wait(self, ref: CommandRef, channels: list[Channel]) -> list[Effect]:
        active = [channel.stream for channel in channels if channel.line.live]
        waiting = [channel.stream for channel in channels if not channel.line.live]
        return self._waits.add(ref, waiting, active)

    def _note(self, channels: list[Channel], now: Instant) -> str | None:
        """Why there may be no data for a while."""
        notes = []
        if self._book.conn is None:
            notes.append("there is no connection to IB now; the data is asked for as soon as there is")
        elif silent := sorted({channel.line.reason for channel in channels if channel.line.state == "starved"}):
            notes.append(f"silent for now: {', '.join(silent)}")
        contract = channels[0].line.contract
        market = market_at(contract.trading_hours, contract.time_zone, now.ns)
        if market is not None and not market.is_open:
            notes.append("the market is closed" + (f" until {market.opens.isoformat()}" if market.opens else ""))
        return "; ".join(notes) or None


def _ticks_of(line: Line, client: str) -> frozenset[int] | None:
    """The client's generic ticks on a line, None when it holds none of its channels."""
    held = [channel.holders[client] for channel in line.channels.values() if client in channel.holders]
    return frozenset(tick for holder in held for tick in holder.generic_ticks) if held else None


def _invalid(text: str) -> Refused:
    return Refused(Rejection("validation_error", text))


def _busy(text: str) -> Refused:
    return Refused(Rejection("busy", text, None, True, _LINE_RETRY_S))
