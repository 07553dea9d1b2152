"""Owns how long the trading hours of each line are known, and has those asked for again that will soon run out.

IB lists about a week with a contract. Beyond it the week's pattern stands in, which knows no holiday: a line held for
longer would be called stale on one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from msgspec import structs

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Effect, Instant, Tell, WriteHolders, in_parts
from ibkr_actor.core.holders import holder_write
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.line import Line
from ibkr_actor.core.messages import ContractRefreshed, RefreshContract
from ibkr_actor.schema.instruments import Contract

_LISTED: Final = re.compile(r"(?:^|;)([0-9]{8}):")
_NS: Final = 1_000_000_000
# From when on they are asked for: the last day listed ends within this time.
_LEFT_NS: Final = 36 * 3_600 * _NS
_DAY_NS: Final = 24 * 3_600 * _NS
# A contract that IB tells nothing new of is left alone for so long.
_AGAIN_S: Final = 6 * 3_600.0
# How many are asked for at a look, so that commands do not wait behind them.
_AT_ONCE: Final = 50


class KnownHours:
    """All lines, looked at now and then. Affects: their contract, watch and bars. Caller: `SubscriptionsCore` only."""

    def __init__(self, config: SubscriptionsConfig, book: LineBook) -> None:
        self._every_s = config.hours_look_s
        self._book = book
        self._next_s = 0.0
        # (con_id, exchange) -> when it was asked for last.
        self._asked_s: dict[tuple[int, str], float] = {}

    def next_s(self) -> float | None:
        """When to look next; None while there is no line, no connection, or nothing to be looked at."""
        watches = self._every_s > 0 and self._book.lines and self._book.conn is not None
        return self._next_s if watches else None

    def look(self, now: Instant) -> list[Effect]:
        """Asks for the contracts whose hours run out, each once for all its lines."""
        due_s = self.next_s()
        if due_s is None or now.s < due_s:
            return []
        self._next_s = now.s + self._every_s
        self._asked_s = {key: at_s for key, at_s in self._asked_s.items() if now.s - at_s < _AGAIN_S}
        effects: list[Effect] = []
        for line in self._book.lines.values():
            key = _told_by(line.contract)
            if not key[0] or line.front is not None:
                continue  # of a continuous future `core.subscriptions.fronts` hears
            if key not in self._asked_s and listed_until_ns(line.contract) - now.ns < _LEFT_NS:
                if len(effects) >= _AT_ONCE:
                    break
                self._asked_s[key] = now.s
                effects.append(Tell("contracts", RefreshContract(*key)))
        return effects

    def refreshed(self, message: ContractRefreshed, now: Instant) -> list[Effect]:
        """IB's present word on a contract: every line of it goes by the new hours, and a restart remembers them."""
        new = message.contract
        writes = []
        for line in self._book.lines.values():
            old = line.contract
            if _told_by(old) != (new.con_id, new.exchange) or line.front is not None:
                continue
            line.contract = with_hours(old, new) if old.legs else structs.replace(new, instrument=old.instrument)
            go_by_hours(line)
            for channel in line.channels.values():
                writes += [holder_write(channel.stream, holder, line.contract) for holder in channel.holders.values()]
        return [WriteHolders(part) for part in in_parts(tuple(writes))]


def _told_by(contract: Contract) -> tuple[int, str]:
    """The con_id and exchange of whose hours are its own: of a combination, of which IB has no details, a leg's."""
    if contract.legs:
        return contract.legs[0].con_id, contract.legs[0].exchange
    return contract.con_id, contract.exchange


def with_hours(contract: Contract, new: Contract) -> Contract:
    """The contract with the hours of another."""
    return structs.replace(
        contract, trading_hours=new.trading_hours, liquid_hours=new.liquid_hours, time_zone=new.time_zone
    )


def go_by_hours(line: Line) -> None:
    """Has what judges a line and what makes its bars go by the hours that its contract has now."""
    if line.watch is not None:
        line.watch.new_hours(line.contract, rth=line.row.rth)
    if line.kept is not None:
        line.kept.new_hours(line.contract)
    for channel in line.built:
        assert channel.builder is not None
        channel.builder.new_hours(line.contract)


def listed_until_ns(contract: Contract) -> int:
    """The end of the last day that IB listed, by UTC; 0 when it listed none."""
    days = _LISTED.findall(contract.trading_hours)
    if not days:
        return 0
    try:
        last = datetime.strptime(max(days), "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(last.timestamp()) * _NS + _DAY_NS
