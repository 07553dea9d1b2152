"""Owns all lines: which request feeds which, the budget, asking anew after a loss, and the timers of each line.

Knows no command and no lease: who wants a line and who is told of its end is `core.subscriptions.core`'.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal, Protocol

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, SetState, Tell
from ibkr_actor.core.kinds import LEVEL1, POOL_OF, ROWS, KindRow, LineType, request_of
from ibkr_actor.core.lines.line import Candidate, Line, LineKey
from ibkr_actor.core.lines.order_book import Book
from ibkr_actor.core.messages import Enqueue, RequestEnded, Withdraw
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.schema.instruments import Contract

# `again`: ask once more; `prove`: no data came in time; `show`: publish the whole order book;
# `close`: a bar that goes on is over.
Timer = Literal["again", "prove", "show", "close"]
_POOLS: Final[dict[str, LineType]] = {
    "lines": "level1",
    "tick_by_tick": "tick_by_tick",
    "depth": "depth",
    "live_bars": "kept",
}
# Source: IBKR, TWS API, "Tick-by-Tick Data": 5 % of the market data lines.
_TICK_BY_TICK_PERCENT = 5


class Lender(Protocol):
    """Who has spare lines."""

    @property
    def lent(self) -> int: ...

    def make_room(self, count: int, now: Instant) -> list[Effect]: ...


class LineBook:
    """Lines by instrument and slot, and by req_id. Caller: `SubscriptionsCore` only."""

    def __init__(self, config: SubscriptionsConfig) -> None:
        self._config = config
        self.req_ids = ReqIds("subscriptions")
        self.conn: int | None = None
        # In the order of first subscription, which is the order of asking after a loss.
        self.lines: dict[LineKey, Line] = {}
        # req_id -> line; set when asked, cleared when withdrawn, ended or the session is over.
        self.by_req: dict[int, Line] = {}
        # Those with an order book.
        self.books: dict[LineKey, Line] = {}
        # Those with bars that go on: kept up to date, or of 5 s.
        self.bars: dict[LineKey, Line] = {}
        # Those of continuous futures.
        self.continuous: dict[LineKey, Line] = {}
        self.timers = Deadlines[tuple[LineKey, Timer]]()
        # Slots taken by line type; see `slots`.
        self._taken: Counter[str] = Counter()
        # Whose lines are spare; set once, when it is made.
        self.lender: Lender | None = None
        # Counts of lines that are gone.
        self.unheld_gone = 0
        self.ignored_gone = 0
        self.repeated_gone = 0

    # ---- the budget

    def slots(self, line_type: LineType) -> int:
        """How many lines of a type there may be. Level 1 and bars share the market data lines."""
        if line_type == "depth":
            return self._config.depth_lines
        if line_type == "kept":
            return self._config.kept_bars
        if line_type == "tick_by_tick":
            return max(1, self._config.lines * _TICK_BY_TICK_PERCENT // 100)
        return self._config.lines

    def taken(self, line_type: LineType) -> int:
        """How many of them are taken, requests that replace another included."""
        return self._taken[POOL_OF[line_type]]

    def room(self, line_type: LineType) -> int:
        """How many further lines of a type there may be."""
        return self.slots(line_type) - self.taken(line_type)

    def holders_of(self, line_type: LineType) -> str:
        """Who holds the lines, as `client n`, the greatest first."""
        counts = Counter(
            client
            for line in self.lines.values()
            if POOL_OF[line.row.line_type] == POOL_OF[line_type]
            for client in {client for channel in line.channels.values() for client in channel.holders}
        )
        return ", ".join(f"{client} {count}" for client, count in counts.most_common(5))

    # ---- lines

    def open(self, key: LineKey, row: KindRow, contract: Contract, *, opened_by: str, feed: int = 0) -> Line:
        """A new line, if the budget has room; else it waits for a slot."""
        # What is made of a line's data comes with the row of the line itself.
        row = ROWS["quote"] if key[1] == LEVEL1 else ROWS.get(row.slot, row)
        line = Line(key, row, contract, opened_by=opened_by, feed=feed or self._config.market_data_type)
        line.feed_asked = 0 if feed == self._config.market_data_type else feed
        if self._config.snapshot_mode and row.line_type == "level1":
            line.as_snapshot()
        if row.line_type == "depth":
            line.book = Book(self._config.depth_rows)
            self.books[key] = line
        if line.front is not None:
            self.continuous[key] = line
        if row.line_type in ("bars", "kept"):
            self.bars[key] = line
        self.lines[key] = line
        self._take_slot(line)
        return line

    def ask(self, line: Line, now: Instant, route: Contract | None = None) -> list[Effect]:
        """Asks IB for the line, when there is a session and a slot; with a `route` for that contract in its place."""
        if line.req_id is not None:
            return []
        if not line.slotted:
            reason = "evicted" if line.reason == "evicted" else "line_limit"
            return self.set_state(line, "starved", reason, now)
        if self.conn is None:
            return self.set_state(line, "starved", "disconnect", now)
        line.renew()
        line.route = route
        line.generic_ticks = line.wanted_ticks()
        line.req_id = self.req_ids.next()
        line.asks += 1
        self.by_req[line.req_id] = line
        asked = self._enqueue(line, line.req_id, line.generic_ticks, now)
        return [*self.set_state(line, "pending", "", now), asked]

    def _enqueue(self, line: Line, req_id: int, generic_ticks: frozenset[int], now: Instant) -> Effect:
        assert self.conn is not None
        # What was up before is asked again in the name of nobody, in its old order; a new wish in its client's turn.
        client = "" if line.proven else line.opened_by
        request = request_of(
            line.row,
            req_id,
            line.route or line.source,
            generic_ticks=generic_ticks,
            snapshot=self._config.snapshot_mode,
            depth_rows=self._config.depth_rows,
            duration="" if line.kept is None else line.kept.duration(now.ns),
            shown=line.what_to_show,
            feeds=(line.feed_asked, self._config.market_data_type if line.feed_asked else 0),
        )
        return Tell("pacing", Enqueue(request, client=client, conn=self.conn))

    def unask(self, line: Line, *, ended: bool) -> list[Effect]:
        """Gives the line's requests up: withdrawn, or, when IB `ended` them, only forgotten."""
        effects = self.drop_candidate(line)
        if line.req_id is not None:
            effects.append(self._give_up(line.req_id, ended=ended))
            line.req_id = None
        line.live, line.watched = False, True
        self.clear_timers(line)
        return effects

    def _give_up(self, req_id: int, *, ended: bool) -> Effect:
        self.by_req.pop(req_id, None)
        return Tell("pacing", RequestEnded(req_id) if ended else Withdraw(req_id))

    def ask_again(self, line: Line, now: Instant, *, ended: bool) -> list[Effect]:
        """Asks for the line under a new id."""
        return self.unask(line, ended=ended) + self.ask(line, now)

    def close(self, line: Line, now: Instant, *, ended: bool) -> list[Effect]:
        """Gives the line back; its slot goes to a line that waits for one."""
        effects = self.unask(line, ended=ended)
        del self.lines[line.key]
        self.books.pop(line.key, None)
        self.bars.pop(line.key, None)
        self.continuous.pop(line.key, None)
        self.timers.clear((line.key, "close"))
        self.unheld_gone += line.unheld
        self.ignored_gone += line.ignored
        self.repeated_gone += line.fives.repeated if line.fives is not None else 0
        if line.slotted:
            self._taken[POOL_OF[line.row.line_type]] -= 1
        return effects + self._fill_slots(now)

    def _fill_slots(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for other in self.by_priority():
            if not other.slotted and self._take_slot(other):
                effects += self.ask(other, now)
        return effects

    def by_priority(self) -> list[Line]:
        """All lines, the most urgent first, and those alike in the order of their first subscription."""
        return sorted(self.lines.values(), key=lambda line: -line.priority)

    def yielding(self, line_type: LineType, priority: int, instrument: str) -> list[Line]:
        """Lines that give way to such a priority: the least urgent first, of those alike the newest."""
        pool = POOL_OF[line_type]
        found = [
            line
            for line in reversed(self.lines.values())
            if line.slotted and POOL_OF[line.row.line_type] == pool and line.priority < priority
            if line.key[0] != instrument
        ]
        return sorted(found, key=lambda line: line.priority)

    def evict(self, line: Line, now: Instant) -> list[Effect]:
        """Takes the slot of a line, which waits for another from now on."""
        effects = self.unask(line, ended=False)
        line.lose("evicted", line.newest_ns or now.ns)
        line.slotted = False
        self._taken[POOL_OF[line.row.line_type]] -= 1
        return [*effects, *self.set_state(line, "starved", "evicted", now)]

    def lent(self, line_type: LineType) -> int:
        """How many of the taken lines of a type are a chain's, which gives them up to anybody else."""
        return self.lender.lent if self.lender is not None and POOL_OF[line_type] == POOL_OF["level1"] else 0

    def make_room(self, needed: int, now: Instant) -> list[Effect]:
        """Has chains give up as many market data lines as are needed and not free."""
        missing = needed - max(0, self.room("level1"))
        return self.lender.make_room(missing, now) if self.lender is not None and missing > 0 and needed > 0 else []

    def waiting(self) -> int:
        """How many lines wait for a market data line."""
        pool = POOL_OF["level1"]
        return sum(1 for line in self.lines.values() if not line.slotted and POOL_OF[line.row.line_type] == pool)

    def lend(self) -> None:
        """A chain takes a market data line. There must be room."""
        self._taken[POOL_OF["level1"]] += 1

    def give_back(self, now: Instant) -> list[Effect]:
        """A chain gives a market data line back; it goes to a line that waits for one."""
        self._taken[POOL_OF["level1"]] -= 1
        return self._fill_slots(now)

    def _take_slot(self, line: Line) -> bool:
        if self.room(line.row.line_type) > 0:
            line.slotted = True
            self._taken[POOL_OF[line.row.line_type]] += 1
        return line.slotted

    # ---- more generic ticks for a line that is up

    def widen(self, line: Line, before: dict[str, frozenset[int] | None], now: Instant) -> list[Effect]:
        """Asks for the union of all generic ticks under a second id; the first is given back when it has data.

        Without room for a second line the first is given back before; if IB refuses the union it is asked again.
        """
        if line.req_id is None and line.candidate is None:
            return []
        if line.candidate is not None:
            before = {**before, **line.candidate.before}
        effects = self.drop_candidate(line)
        if line.req_id is not None:
            effects += self.make_room(1, now)
        if line.req_id is not None and self.room(line.row.line_type) < 1:
            effects.append(self._give_up(line.req_id, ended=False))
            line.req_id = None
            line.lose("restart", now.ns)
        if line.req_id is not None:
            self._taken[POOL_OF[line.row.line_type]] += 1
        req_id = self.req_ids.next()
        line.candidate = Candidate(req_id, line.wanted_ticks(), before)
        line.watched = True
        self.by_req[req_id] = line
        return [*effects, self._enqueue(line, req_id, line.candidate.generic_ticks, now)]

    def promote(self, line: Line) -> list[Effect]:
        """The second request has data: it is the line's request now."""
        candidate, line.candidate = line.candidate, None
        assert candidate is not None
        effects: list[Effect] = []
        if line.req_id is not None:
            effects.append(self._give_up(line.req_id, ended=False))
            self._taken[POOL_OF[line.row.line_type]] -= 1
        line.req_id, line.generic_ticks = candidate.req_id, candidate.generic_ticks
        return effects

    def drop_candidate(self, line: Line, *, ended: bool = False) -> list[Effect]:
        """Gives the second request up, if there is one."""
        candidate, line.candidate = line.candidate, None
        if candidate is None:
            return []
        if line.req_id is not None:
            self._taken[POOL_OF[line.row.line_type]] -= 1
        return [self._give_up(candidate.req_id, ended=ended)]

    # ---- losses

    def session_over(self, from_ns: int, now: Instant) -> list[Effect]:
        """The connection is gone and every request with it."""
        self.conn = None
        effects: list[Effect] = []
        for line in self.lines.values():
            self.unask(line, ended=True)
            line.asks = 0
            line.lose("disconnect", from_ns)
            effects += self.set_state(line, "starved", "disconnect", now)
        self.by_req.clear()
        return effects

    def data_lost(self, from_ns: int, now: Instant) -> list[Effect]:
        """IB forgot what was asked: what was sent is over, what still waits is asked under a new id too."""
        effects: list[Effect] = []
        for line in self.by_priority():
            line.lose("disconnect", from_ns)
            # Whether a request was sent may not be known yet: only what surely was needs no cancel.
            effects += self.ask_again(line, now, ended=line.sent)
        return effects

    def upstream_down(self, from_ns: int, now: Instant) -> list[Effect]:
        """TWS lost IB: nothing comes, though nothing was ended."""
        effects: list[Effect] = []
        for line in self.lines.values():
            if line.live:
                line.lose("disconnect", from_ns)
                effects += self.set_state(line, "starved", "upstream", now)
        return effects

    def upstream_up(self, now: Instant) -> list[Effect]:
        """IB kept what was asked: the next data says that a line is alive, and how much is missing."""
        effects: list[Effect] = []
        for line in self.lines.values():
            if (line.state, line.reason) == ("starved", "upstream"):
                effects += self.set_state(line, "pending", "upstream_restored", now)
        return effects

    def starve(self, line: Line, reason: str, now: Instant, *, again_s: float) -> list[Effect]:
        """The line is silent for a reason that may pass; it is asked for again by and by."""
        self.clear_timers(line)
        line.doubt = None
        self.set_timer(line, "again", now.s + again_s)
        line.live, line.watched = False, True
        return self.set_state(line, "starved", reason, now)

    def set_state(self, line: Line, state: str, reason: str, now: Instant) -> list[Effect]:
        """Says a change of a line's state for each of its streams."""
        if (line.state, line.reason) == (state, reason):
            return []
        line.state, line.reason, line.since_ns = state, reason, now.ns
        return [SetState(channel.stream, state, channel.reason, now.ns) for channel in line.channels.values()]

    # ---- timers

    def set_timer(self, line: Line, timer: Timer, at_s: float) -> None:
        self.timers.set((line.key, timer), at_s)

    def clear_timers(self, line: Line) -> None:
        self.timers.clear((line.key, "again"))
        self.timers.clear((line.key, "prove"))

    # ---- what is told

    def status(self) -> dict[str, object]:
        """How many streams there are and in which state, what is taken of IB's limits, and what nobody wanted."""
        lines = self.lines.values()
        states = Counter(f"{line.state}:{line.reason}" if line.reason else line.state for line in lines)
        return {
            "streams": sum(len(line.channels) for line in lines),
            "states": dict(sorted(states.items())),
            **{name: {"taken": self.taken(pool), "of": self.slots(pool)} for name, pool in _POOLS.items()},
            "unreadable_bars": sum(line.kept.unreadable for line in self.bars.values() if line.kept is not None),
            "repeated_bars": self.repeated_gone + sum(line.fives.repeated for line in lines if line.fives is not None),
            "unheld_events": self.unheld_gone + sum(line.unheld for line in lines),
            "ignored_events": self.ignored_gone + sum(line.ignored for line in lines),
        }
