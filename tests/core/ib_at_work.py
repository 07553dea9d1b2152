"""Owns an IB that answers history after a while, counts as IB does, and knows nothing of the code it judges.

Asserts only when asked to judge; drives pacing by its own wake-ups and literal times.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque

from msgspec import Struct

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import Effect, Send, WritePacing
from ibkr_actor.core.messages import Enqueue, PacingViolated, RequestEnded, SessionDown, SessionUp, WakeUp, Withdraw
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.requests import (
    AnyRequest,
    CancelHeadTimestamp,
    CancelHistogram,
    CancelHistoricalData,
    ReqHeadTimestamp,
    ReqHistogram,
    ReqHistoricalData,
    ReqHistoricalTicks,
    ReqMktData,
    ReqRealTimeBars,
    ReqTickByTick,
)
from tests.core.kit import at, stock

HISTORY = (ReqHistoricalData, ReqHistoricalTicks, ReqHeadTimestamp, ReqHistogram)
CANCELS = (CancelHistoricalData, CancelHeadTimestamp, CancelHistogram)


def small(
    n: int, con_id: int = 1, what: str = "TRADES", end: str | None = None, size: str = "5 secs"
) -> ReqHistoricalData:
    """Bars of 5 seconds; each `n` another window of time, unless `end` says which."""
    return ReqHistoricalData(n * 10 + 3, stock("X", con_id), end or f"t{n}", "3600 S", size, what, False)


def big(n: int, con_id: int = 1) -> ReqHistoricalData:
    return small(n, con_id, size="1 day")


def ticks(n: int, con_id: int = 1, what: str = "TRADES") -> ReqHistoricalTicks:
    return ReqHistoricalTicks(n * 10 + 3, stock("X", con_id), f"t{n}", "", 1000, what, False)


def head(n: int, con_id: int = 1) -> ReqHeadTimestamp:
    return ReqHeadTimestamp(n * 10 + 3, stock("X", con_id), "TRADES", False)


def histogram(n: int) -> ReqHistogram:
    return ReqHistogram(n * 10 + 3, stock(), False, "3 days")


def bars(n: int) -> ReqRealTimeBars:
    return ReqRealTimeBars(n * 10 + 2, stock(), "TRADES", False)


def by_tick(n: int, con_id: int = 1) -> ReqTickByTick:
    return ReqTickByTick(n * 10 + 2, stock("X", con_id), "Last")


def level1(n: int) -> ReqMktData:
    return ReqMktData(n * 10 + 2, stock())


def is_coarse(request: AnyRequest) -> bool:
    """Bars of a day and histograms: what IB only slows down softly."""
    return isinstance(request, ReqHistogram) or (isinstance(request, ReqHistoricalData) and request.bar_size == "1 day")


# (rule, scope, window_s, margin_s, count, weight)
Rule = tuple[str, object, float, float, int, int]


def rules_of(request: AnyRequest, config: PacingConfig) -> list[Rule]:
    """What counts the request, as IB's pages have it, written down once more."""
    margin_s = config.window_margin_s
    rows: list[Rule] = [("messages", 0, 1.0, config.message_margin_s, config.lines // 2, 1)]
    match request:
        case ReqHistogram():
            rows.append(("big", 0, 1.0, config.message_margin_s, config.big_bars_per_s, 1))
        case ReqHistoricalData() if is_coarse(request):
            rows.append(("big", 0, 1.0, config.message_margin_s, config.big_bars_per_s, 1))
        case ReqTickByTick():
            rows.append(("tick", request.contract.con_id, 15.0, margin_s, 1, 1))
        case ReqHistoricalData() | ReqHistoricalTicks() | ReqHeadTimestamp() | ReqRealTimeBars():
            double = 2 if request.what_to_show == "BID_ASK" else 1
            rows.append(("small", 0, config.small_bars_window_s, margin_s, config.small_bars_count, double))
            if not isinstance(request, ReqRealTimeBars):
                key = (request.contract.con_id, request.contract.exchange, request.what_to_show)
                rows.append(("contract", key, 2.0, margin_s, 5, double))
                same = repr(request).replace(f"req_id={request.req_id}", "")
                rows.append(("identical", same, 15.0, margin_s, 1, 1))
    return rows


class IB:
    """Pacing at work against IB: what is asked, answered and cancelled happens in the order of its times."""

    def __init__(self, config: PacingConfig, answer_s: float = 1.0) -> None:
        self.config = config
        self.pacing = PacingCore(config)
        self.pacing.handle(SessionUp(1, 200), at(-10.0))
        self.answer_s = answer_s
        self.log: list[tuple[float, AnyRequest]] = []
        self.waiting: dict[int, Enqueue] = {}
        self.open: dict[int, AnyRequest] = {}
        self.most_open = 0
        # What pacing last wrote.
        self.value = b""
        self.wakeups = 0
        self.now_s = 0.0
        self._events: list[tuple[float, int, Struct]] = []
        self._count = itertools.count()
        self._counted: dict[tuple[str, object], list[tuple[float, int]]] = {}

    def ask(self, s: float, request: AnyRequest, *, priority: int = 1, client: str = "") -> None:
        self.at(s, Enqueue(request, priority=priority, client=client))

    def at(self, s: float, message: Struct) -> None:
        heapq.heappush(self._events, (s, next(self._count), message))

    def run(self, until_s: float = float("inf")) -> None:
        """Until nothing happens any more, or the time has come."""
        for _ in range(1_000_000):
            due_s = self.pacing.next_wakeup_s()
            next_s = self._events[0][0] if self._events else float("inf")
            at_s = min(next_s, float("inf") if due_s is None else due_s)
            if at_s > until_s or at_s == float("inf"):
                self.now_s = max(self.now_s, until_s) if until_s < float("inf") else self.now_s
                return
            self.now_s = max(self.now_s, at_s)
            if next_s <= at_s:
                self.tell(heapq.heappop(self._events)[2])
            else:
                self.wakeups += 1
                self.tell(WakeUp())
        raise AssertionError("it never rests")

    def tell(self, message: Struct) -> list[Effect]:
        match message:
            case Enqueue():
                self.waiting[message.request.req_id] = message
            case Withdraw(req_id):
                self.waiting.pop(req_id, None)
            case RequestEnded(req_id):
                if not isinstance(self.open.get(req_id), ReqHeadTimestamp):
                    self.open.pop(req_id, None)
            case PacingViolated(req_id):
                self.open.pop(req_id, None)
            case SessionDown():
                self.open.clear()
        effects = self.pacing.handle(message, at(self.now_s))
        self.take(effects)
        return effects

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, WritePacing):
                self.value = effect.value
            if not isinstance(effect, Send):
                continue
            request = effect.request
            self.log.append((self.now_s, request))
            for rule, scope, _, _, _, weight in rules_of(request, self.config):
                self._counted.setdefault((rule, scope), []).append((self.now_s, weight))
            if isinstance(request, CANCELS):
                self.open.pop(request.req_id, None)
            elif isinstance(request, HISTORY):
                self.open[request.req_id] = request
                self.at(self.now_s + self.answer_s, RequestEnded(request.req_id))
            self.most_open = max(self.most_open, len(self.open))
            assert sum(is_coarse(one) for one in self.open.values()) <= self.config.big_bars_open_max
            assert len(self.open) <= self.config.open_max
            self.waiting.pop(request.req_id, None)

    @property
    def left(self) -> list[tuple[float, int]]:
        """(when, n) of what left, cancels aside."""
        return [(round(s, 6), request.req_id // 10) for s, request in self.log if not isinstance(request, CANCELS)]

    def judge(self, delays: list[float]) -> None:
        """Counts on receipt, which trails sending by any delay below the margin, in order."""
        seen: dict[tuple[str, object], deque[tuple[float, int]]] = {}
        last_s: dict[str, float] = {}
        for n, (s, request) in enumerate(self.log):
            for rule, scope, window_s, margin_s, count, weight in rules_of(request, self.config):
                received_s = max(last_s.get(rule, -99.0), s + delays[n % len(delays)] * margin_s * 0.99)
                last_s[rule] = received_s
                window = seen.setdefault((rule, scope), deque())
                while window and window[0][0] <= received_s - window_s:
                    window.popleft()
                window.append((received_s, weight))
                assert sum(weight for _, weight in window) <= count, (rule, scope, received_s)

    def allowed(self, request: AnyRequest) -> bool:
        """Whether every window, margin included, and every limit on open requests has room now."""
        if isinstance(request, HISTORY):
            if len(self.open) >= self.config.open_max:
                return False
            coarse = sum(is_coarse(one) for one in self.open.values())
            if is_coarse(request) and coarse >= self.config.big_bars_open_max:
                return False
        return all(
            self.used(rule, scope, window_s + margin_s) + weight <= count
            for rule, scope, window_s, margin_s, count, weight in rules_of(request, self.config)
        )

    def used(self, rule: str, scope: object, span_s: float) -> int:
        return sum(weight for s, weight in self._counted.get((rule, scope), ()) if s + span_s > self.now_s)
