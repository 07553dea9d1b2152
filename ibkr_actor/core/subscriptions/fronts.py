"""Owns which future stands behind each continuous one that is held, and what happens when that changes: the roll.

Asks IB which it is now and then; what a line publishes of the future is `core.lines.publishing`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct, field, structs

from ibkr_actor.core.calendar.bar_times import BarTimes
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Effect, HolderWrite, Instant, Publish, Tell, WriteHolders
from ibkr_actor.core.events import ContractDetails, ContractDetailsEnd
from ibkr_actor.core.holders import holder_write
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.kept_bars import KeptBars
from ibkr_actor.core.lines.known_hours import go_by_hours, with_hours
from ibkr_actor.core.lines.line import Item, Line, append
from ibkr_actor.core.messages import Enqueue
from ibkr_actor.core.requests import ReqContractDetails
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from ibkr_actor.schema.records import Roll, System

CONTINUOUS: Final = "CONTFUT"
# An answer that has not come by then is asked for again at the next look.
_ANSWER_S: Final = 60.0
_MATCHES_MAX: Final = 1_000
_DATE_DIGITS: Final = len("YYYYMMDD")


class _Asked(Struct):
    """One question under way."""

    instrument: str
    at_s: float
    matches: list[Contract] = field(default_factory=list)


class Fronts:
    """The futures at the front. Caller: `SubscriptionsCore` only; affects the lines of continuous futures."""

    def __init__(self, config: SubscriptionsConfig, book: LineBook) -> None:
        self._days = config.roll_days
        self._every_s = config.roll_look_s
        self._book = book
        # req_id -> question; cleared when answered, refused or late, and with the session.
        self._asked: dict[int, _Asked] = {}
        # instrument -> when to ask next, monotonic.
        self._due: dict[str, float] = {}

    def next_s(self) -> float | None:
        """When to ask next; None without a connection or a continuous future."""
        if self._book.conn is None or not self._book.continuous:
            return None
        return min(self._due.get(instrument, 0.0) for instrument in self._instruments())

    def _instruments(self) -> set[str]:
        return {line.key[0] for line in self._book.continuous.values()}

    def look(self, now: Instant) -> list[Effect]:
        """Asks IB which future it is, for each continuous one that it is time for."""
        due_s = self.next_s()
        if due_s is None or now.s < due_s:
            return []
        self._asked = {req_id: asked for req_id, asked in self._asked.items() if now.s - asked.at_s < _ANSWER_S}
        self._due = {instrument: at_s for instrument, at_s in self._due.items() if at_s > now.s}
        effects: list[Effect] = []
        for line in self._book.continuous.values():
            instrument = line.key[0]
            if instrument in self._due:
                continue
            self._due[instrument] = now.s + self._every_s
            req_id = self._book.req_ids.next()
            self._asked[req_id] = _Asked(instrument, now.s)
            assert self._book.conn is not None
            request = ReqContractDetails(req_id, self._query(line.contract))
            effects.append(Tell("pacing", Enqueue(request, conn=self._book.conn)))
        return effects

    def _query(self, contract: Contract) -> InstrumentQuery:
        """IB's own continuous future says which it is; for a rule of our own all futures are looked at."""
        sec_type = "FUT" if self._days else CONTINUOUS
        trading_class = (contract.trading_class or None) if self._days else None
        return InstrumentQuery(
            contract.symbol, sec_type, contract.exchange, contract.currency, trading_class=trading_class
        )

    def session_over(self) -> None:
        """The next connection is asked anew at once."""
        self._asked.clear()
        self._due.clear()

    def refused(self, req_id: int) -> bool:
        """Whether a request that IB or pacing refused was made here; what is at the front stays until the next look."""
        return self._asked.pop(req_id, None) is not None

    def details(self, event: ContractDetails, now: Instant) -> list[Effect]:
        """One contract of an answer."""
        asked = self._asked.get(event.req_id)
        if asked is not None and len(asked.matches) < _MATCHES_MAX:
            asked.matches.append(event.contract)
        return []

    def details_end(self, event: ContractDetailsEnd, now: Instant) -> list[Effect]:
        """An answer is complete: the streams roll when another future is at the front."""
        asked = self._asked.pop(event.req_id, None)
        front = None if asked is None else chosen(asked.matches, self._days, now.ns)
        if asked is None or front is None:
            return []
        front = structs.replace(front, sec_type="FUT", instrument="")
        lines = [line for line in self._book.continuous.values() if line.key[0] == asked.instrument]
        effects: list[Effect] = []
        for line in lines:
            if line.front is not None and line.front.con_id != front.con_id:
                effects += self._roll(line, front, now)
            elif front.trading_hours and with_hours(line.contract, front) != line.contract:
                line.contract = with_hours(line.contract, front)
                go_by_hours(line)
                effects.append(WriteHolders(_writes(line)))
        return effects

    def _roll(self, line: Line, front: Contract, now: Instant) -> list[Effect]:
        """The line is asked for again with the new future; each of its streams says from where on."""
        before = line.front
        assert before is not None
        rolled = (before.con_id, front.con_id, before.local_symbol, front.local_symbol)
        items: list[Item] = []
        effects: list[Effect] = self._book.unask(line, ended=False)
        line.front, line.con_id = front, front.con_id
        dated = {name: getattr(front, name) for name in ("con_id", "local_symbol", "last_trade_date")}
        line.contract = structs.replace(line.contract, **dated)
        if front.trading_hours:
            line.contract = with_hours(line.contract, front)
        go_by_hours(line)
        if line.kept is not None:
            line.kept = KeptBars(BarTimes(line.row.resolution, line.contract, rth=line.row.rth))
        if line.fives is not None:
            line.fives = line.fives.of_another()
        for channel in line.channels.values():
            head = (0, 0, front.con_id, now.ns, None, line.feed, line.flags)
            append(items, line, channel, Roll(*head, *rolled, now.ns))
            channel.published = True
        text = f"{line.key[0]} is {front.local_symbol} ({front.con_id}) from now on."
        said = System(0, 0, now.ns, "subscription", "rolled", line.streams[0].name, text, None, self._book.conn)
        effects += [Publish(items), WriteHolders(_writes(line)), Announce(said)]
        return effects + self._book.ask(line, now)


def _writes(line: Line) -> tuple[HolderWrite, ...]:
    return tuple(
        holder_write(channel.stream, holder, line.contract)
        for channel in line.channels.values()
        for holder in channel.holders.values()
    )


def chosen(matches: Sequence[Contract], days: int, now_ns: int) -> Contract | None:
    """The future at the front: IB's own answer, or with `days` the next whose last day is more than so far away."""
    if not days:
        return matches[0] if len({match.con_id for match in matches}) == 1 else None
    today = datetime.fromtimestamp(now_ns / 1e9, UTC)
    after = f"{today + timedelta(days=days):%Y%m%d}"
    later = [each for each in matches if len(each.last_trade_date) == _DATE_DIGITS and each.last_trade_date > after]
    return min(later, key=lambda each: (each.last_trade_date, each.con_id), default=None)
