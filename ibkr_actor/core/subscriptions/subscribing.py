"""Owns what a `subscribe` needs before it is accepted, and what accepting it does.

Reads no event from IB.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec import UNSET, structs

from ibkr_actor.core.calendar.hours import market_at
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Answer, CommandRef, Effect, Instant, Publish, SetState
from ibkr_actor.core.holders import PRIORITIES, Holder, lease_of
from ibkr_actor.core.kinds import (
    LEVEL1,
    POOL_OF,
    ROWS,
    KindRow,
    known_kinds,
    level1_may_stand_in,
    line_type_of,
    why_not,
)
from ibkr_actor.core.lines import translate
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.line import Channel, Item, Line
from ibkr_actor.core.lines.stand_ins import needed_ticks, top_moved
from ibkr_actor.core.lines.tick_types import TickType
from ibkr_actor.core.lines.watched import freshness_of
from ibkr_actor.core.messages import Reconfigure
from ibkr_actor.core.past.backfills import Backfills, past_of, read_wish
from ibkr_actor.core.past.healing import can_heal
from ibkr_actor.core.past.joining import Wish
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.subscriptions.fallbacks import Fallbacks
from ibkr_actor.core.subscriptions.holdings import Holdings
from ibkr_actor.core.subscriptions.waits import Waits
from ibkr_actor.schema.commands import Rejection, Reply, Subscribe
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import FLAG_BUILT, System

# Market data types by the names of the command. Source: IBKR, TWS API, "Market Data Type".
FEEDS: Final = {"": 0, "live": 1, "frozen": 2, "delayed": 3, "delayed_frozen": 4}
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
        self,
        config: SubscriptionsConfig,
        book: LineBook,
        holdings: Holdings,
        waits: Waits,
        backfills: Backfills,
        fallbacks: Fallbacks,
    ) -> None:
        self._fallbacks = fallbacks
        self.config = config
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
            self._check_feed(command, rows, contract.instrument)
            slots = self._slots(rows, contract, fallback=command.fallback)
            self._check_room(ref, rows, slots, contract.instrument, holder.priority)
        except Refused as refusal:
            return [rejected(ref, refusal.rejection)]
        return self._accept(ref, rows, slots, holder, contract, wish, now)

    def reconfigure(self, message: Reconfigure, now: Instant) -> list[Effect]:
        """Who subscribes from now on goes by other settings."""
        self.config = message.config
        return []

    def restored(self, instrument: str, row: KindRow, contract: Contract, holder: Holder) -> Channel:
        """The channel of what was held before the process started."""
        (slot,) = self._slots([row], contract, fallback=holder.fallback)
        return self._channel(instrument, row, slot, contract, opened_by=holder.client, feed=holder.feed)

    def _channel(
        self, instrument: str, row: KindRow, slot: str, contract: Contract, *, opened_by: str, feed: int
    ) -> Channel:
        """The channel of a kind, with its line, made when it is not there."""
        key = (instrument, slot)
        line = self._book.lines.get(key)
        if line is None:
            line = self._book.open(key, row, contract, opened_by=opened_by, feed=feed)
        channel = line.channels.get(row.kind) or line.add_channel(row)
        if channel.stands_in:
            self._fallbacks.begin(channel)
        return channel

    def _slots(self, rows: list[KindRow], contract: Contract, *, fallback: bool) -> list[str]:
        """Which line feeds each kind: its own, or level 1 where that stands in already or has to."""
        lines, instrument = self._book.lines, contract.instrument
        level1 = lines.get((instrument, LEVEL1))
        room = self._book.room("tick_by_tick")
        slots: list[str] = []
        for row in rows:
            own = row.slot
            if row.line_type != "tick_by_tick" or (instrument, own) in lines:
                slots.append(own)
            elif level1 is not None and row.kind in level1.channels:
                slots.append(LEVEL1)
            elif room > 0 and why_not(row.kind, contract.sec_type, contract.exchange) is None:
                room -= 1
                slots.append(own)
            else:
                slots.append(LEVEL1 if fallback else own)
        return slots

    # ---- checks

    def _rows(self, command: Subscribe, contract: Contract) -> list[KindRow]:
        try:
            kinds = known_kinds(command.kinds, use_rth=self.config.use_rth)
        except ValueError as error:
            raise _invalid(str(error)) from None
        for kind in kinds:
            reason = why_not(kind, contract.sec_type, contract.exchange)
            if command.fallback and level1_may_stand_in(ROWS[kind], contract.sec_type):
                continue
            if reason is not None:
                raise Refused(Rejection("unsupported", f"{kind} of {contract.instrument}: {reason}"))
        return [ROWS[kind] for kind in kinds]

    def _holder(self, ref: CommandRef, command: Subscribe, rows: list[KindRow], now: Instant) -> Holder:
        try:
            lease_s = lease_of(command.lease_s, self.config)
        except ValueError as error:
            raise _invalid(str(error)) from None
        ticks = frozenset(command.generic_ticks)
        if ticks and not any(row.line_type == "level1" for row in rows):
            raise _invalid("generic_ticks come with the kinds quote, tick, greeks and news only")
        if ticks and self.config.snapshot_mode:
            raise _invalid("IB takes no generic_ticks in snapshot mode")
        if len(ticks) > _GENERIC_TICKS_MAX or any(not 0 < tick < 10_000 for tick in ticks):
            raise _invalid(f"generic_ticks are at most {_GENERIC_TICKS_MAX} of IB's numbers, such as 233")
        if command.heal is True and not any(can_heal(row) for row in rows):
            kinds = ", ".join(row.kind for row in rows)
            raise Refused(Rejection("unsupported", f"IB has no history that gaps of {kinds} could be refilled from"))
        heal = self.config.heal if command.heal is UNSET else command.heal
        feed = FEEDS[command.feed]
        if feed and not any(row.line_type == "level1" for row in rows):
            raise _invalid("feed comes with the kinds quote, tick and greeks only; all others are live")
        priority = PRIORITIES.index(command.priority)
        wanted = (feed, command.fallback, priority, command.backfill)
        return Holder(ref.client, lease_s, ticks, ref.id, now.ns, heal, *wanted)

    def _check_feed(self, command: Subscribe, rows: list[KindRow], instrument: str) -> None:
        """One stream has one feed: that of whoever opened it."""
        line = self._book.lines.get((instrument, LEVEL1))
        if line is None or not command.feed:
            return
        feed = line.feed_asked or self.config.market_data_type
        if feed != FEEDS[command.feed]:
            names = {number: name for name, number in FEEDS.items()}
            text = f"level 1 of {instrument} is open as {names[feed]}, and a stream has one market data type"
            raise Refused(Rejection("unsupported", text))

    def _wish(self, command: Subscribe, rows: list[KindRow], instrument: str, now: Instant) -> Wish | None:
        """What of the past the streams begin with."""
        if not command.backfill:
            return None
        try:
            wish = read_wish(command.backfill, self.config.backfill_days, now.ns)
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

    def _check_room(
        self, ref: CommandRef, rows: list[KindRow], slots: list[str], instrument: str, priority: int
    ) -> None:
        held = self._holdings.of(ref.client)
        new = sum(1 for row in rows if not any(s.kind == row.kind and s.instrument == instrument for s in held))
        if self._holdings.count + new > self.config.holders_max:
            raise _busy(f"{self.config.holders_max} holders are the most that are kept")
        if self._waits.count >= self.config.waiting_max:
            raise _busy(f"{self.config.waiting_max} commands are waiting for their first data")
        new_slots = {slot for slot in slots if (instrument, slot) not in self._book.lines}
        needed = Counter(POOL_OF[line_type_of(slot)] for slot in new_slots)
        for line_type, pool in POOL_OF.items():
            room = self._book.room(line_type) + self._book.lent(line_type)
            if needed[pool] <= room + len(self._book.yielding(line_type, priority, instrument)):
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
        slots: list[str],
        holder: Holder,
        contract: Contract,
        wish: Wish | None,
        now: Instant,
    ) -> list[Effect]:
        before: dict[Line, frozenset[int] | None] = {}
        fresh: list[Channel] = []
        channels: list[Channel] = []
        effects = self._chains_give_way(slots, contract.instrument, now)
        effects += self._others_give_way(ref.client, slots, contract.instrument, holder.priority, now)
        for row, slot in zip(rows, slots, strict=True):
            channel = self._channel(contract.instrument, row, slot, contract, opened_by=ref.client, feed=holder.feed)
            before.setdefault(channel.line, _ticks_of(channel.line, ref.client))
            if not channel.holders:
                fresh.append(channel)
            channels.append(channel)
        writes = tuple(self._holdings.add(channel, self.own(holder, channel), now) for channel in channels)
        joining = [channel for channel in fresh if channel.line.state]
        if wish is not None:
            for channel in fresh:
                self._backfills.begin(channel, wish, ref.client, now)
        for line, ticks in before.items():
            effects += self._request(line, ref.client, ticks, now)
        effects += self._join(joining)
        names = self._holdings.names([channel.stream for channel in channels])
        reply = Reply(ref.id, ref.op, "accepted", names, note=self._note(channels, now))
        return [Answer(ref, reply, writes), *effects, *self._wait(ref, channels)]

    def own(self, holder: Holder, channel: Channel) -> Holder:
        """The holder of one channel: generic ticks belong to level 1, and who held it already keeps its place."""
        ticks = holder.generic_ticks if channel.row.line_type == "level1" else frozenset[int]()
        if channel.stands_in:
            ticks = needed_ticks(channel)
        # What the stream begins with is kept with whoever holds it.
        backfill = holder.backfill or next((each.backfill for each in channel.holders.values() if each.backfill), "")
        known = channel.holders.get(holder.client)
        since_ns = holder.since_ns if known is None else known.since_ns
        return structs.replace(holder, generic_ticks=ticks, since_ns=since_ns, backfill=backfill)

    def _chains_give_way(self, slots: list[str], instrument: str, now: Instant) -> list[Effect]:
        """Chains have spare lines only: they give up as many as are needed and not free."""
        level1 = POOL_OF["level1"]
        wanted = {slot for slot in slots if POOL_OF[line_type_of(slot)] == level1}
        return self._book.make_room(sum(1 for slot in wanted if (instrument, slot) not in self._book.lines), now)

    def _others_give_way(
        self, client: str, slots: list[str], instrument: str, priority: int, now: Instant
    ) -> list[Effect]:
        """Lines of lower priority are given up, as many as are needed and not free."""
        effects: list[Effect] = []
        gone: list[Line] = []
        wanted = {slot for slot in slots if (instrument, slot) not in self._book.lines}
        needed = Counter(POOL_OF[line_type_of(slot)] for slot in wanted)
        for line_type, pool in POOL_OF.items():
            missing = needed.pop(pool, 0) - max(0, self._book.room(line_type))
            for line in self._book.yielding(line_type, priority, instrument)[: max(0, missing)]:
                effects += self._book.evict(line, now)
                gone.append(line)
        if gone:
            names = ", ".join(stream.name for line in gone for stream in line.streams)
            text = f"{names}: gave way to a subscription of {client} to {instrument}, which has a higher priority."
            effects.append(Announce(System(0, 0, now.ns, "subscription", "evicted", instrument, text)))
        return effects

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
            effects.append(stated(channel))
            effects += freshness_of(line, channel.stream)
            if channel is line.quote and line.live:
                quote = translate.known_quote(line.top, line.con_id, line.feed, line.flags)
                if quote is not None:
                    items.append((channel.stream, quote))
            if channel is line.greeks and line.live:
                flags = line.flags | FLAG_BUILT
                known = (translate.greeks(event, line.con_id, line.feed, flags) for event in line.computed.values())
                items.extend((channel.stream, record) for record in known)
            if channel.stands_in and line.live:
                top_moved(line, int(TickType.BID), line.top.received_ns, items)
        return [*effects, Publish(items)] if items else effects

    def _wait(self, ref: CommandRef, channels: list[Channel]) -> list[Effect]:
        active = [channel.stream for channel in channels if channel.line.live]
        waiting = [channel.stream for channel in channels if not channel.line.live]
        return self._waits.add(ref, waiting, active)

    def _note(self, channels: list[Channel], now: Instant) -> str | None:
        """Why there may be no data for a while, or other data than was asked for."""
        notes = []
        if standing_in := [channel.row.kind for channel in channels if channel.stands_in]:
            taken, slots = self._book.taken("tick_by_tick"), self._book.slots("tick_by_tick")
            text = f"{taken} of {slots} tick-by-tick streams are taken, or IB has none of it"
            notes.append(f"level 1 stands in for {', '.join(standing_in)}: {text}")
        if self._book.conn is None:
            notes.append("there is no connection to IB now; the data is asked for as soon as there is")
        elif silent := sorted({channel.line.reason for channel in channels if channel.line.state == "starved"}):
            notes.append(f"silent for now: {', '.join(silent)}")
        contract = channels[0].line.contract
        market = market_at(contract.trading_hours, contract.time_zone, now.ns)
        if market is not None and not market.is_open:
            notes.append("the market is closed" + (f" until {market.opens.isoformat()}" if market.opens else ""))
        return "; ".join(notes) or None


def stated(channel: Channel) -> SetState:
    """The state of a stream as it stands."""
    return SetState(channel.stream, channel.line.state, channel.reason, channel.line.since_ns)


def _ticks_of(line: Line, client: str) -> frozenset[int] | None:
    """The client's generic ticks on a line, None when it holds none of its channels."""
    held = [channel.holders[client] for channel in line.channels.values() if client in channel.holders]
    return frozenset(tick for holder in held for tick in holder.generic_ticks) if held else None


def _invalid(text: str) -> Refused:
    return Refused(Rejection("validation_error", text))


def _busy(text: str) -> Refused:
    return Refused(Rejection("busy", text, None, True, _LINE_RETRY_S))
