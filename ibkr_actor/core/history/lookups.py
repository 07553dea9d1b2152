"""Owns the commands that IB answers with one message: head timestamp, schedule, histogram.

Holds no job; a command waits here until it is settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec import UNSET, UnsetType

from ibkr_actor.core.calendar.sessions import clock_ns, from_schedule
from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Answer, CommandRef, Effect, Instant, Tell
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.history import what_to_show
from ibkr_actor.core.history.asks import INTERACTIVE, Ask, Asks
from ibkr_actor.core.history.errors import judge
from ibkr_actor.core.history.events import HeadTimestamp, HistogramData, HistoricalSchedule
from ibkr_actor.core.history.interval import asked
from ibkr_actor.core.messages import PacingViolated, RateExceeded, RequestRefused
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import AnyRequest, ReqHeadTimestamp, ReqHistogram, ReqHistoricalData
from ibkr_actor.schema.commands import HeadTimestamp as HeadTimestampCommand
from ibkr_actor.schema.commands import Histogram, Rejection, Reply, Schedule
from ibkr_actor.schema.instruments import Contract

_NS = 1_000_000_000
_DAYS_MAX = 365
# Trade dates that a year has at least. Years are what both of IB's tables of durations allow for daily bars.
_DAYS_OF_YEAR = 240


class Lookups:
    """Commands by number, each waiting for one ask."""

    def __init__(self, config: HistoryConfig, req_ids: ReqIds) -> None:
        self._config = config
        self.asks = Asks(req_ids, timeout_s=config.answer_timeout_s)
        # number as text -> the command, its contract, and how many trade dates it wants; cleared when it is settled.
        self._waiting: dict[str, tuple[CommandRef, Contract, int]] = {}
        self._count = 0
        self._deadlines = Deadlines[str]()

    def next_wakeup_s(self) -> float | None:
        times = [at_s for at_s in (self.asks.next_wakeup_s(), self._deadlines.next_s()) if at_s is not None]
        return min(times, default=None)

    def begin(
        self, ref: CommandRef, command: HeadTimestampCommand | Schedule | Histogram, contract: Contract, now: Instant
    ) -> list[Effect]:
        """Asks IB, or waits for the same question of someone else."""
        if len(self._waiting) >= self._config.lookups_max:
            text = f"{self._config.lookups_max} questions are waiting for IB already"
            return [rejected(ref, Rejection("busy", text, None, True, 5.0))]
        try:
            request = self._request(command, contract, now)
        except ValueError as error:
            return [rejected(ref, Rejection("validation_error", str(error)))]
        self._count += 1
        name = str(self._count)
        self._waiting[name] = ref, contract, command.days if isinstance(command, Schedule) else 0
        deadline_s = self._config.lookup_timeout_s
        if command.deadline_ms is not None:
            deadline_s = min(deadline_s, command.deadline_ms / 1000 - now.ns / _NS)
        self._deadlines.set(name, now.s + deadline_s)
        return self.asks.add(request, (name, 0), client=ref.client, priority=INTERACTIVE)

    def _request(
        self, command: HeadTimestampCommand | Schedule | Histogram, contract: Contract, now: Instant
    ) -> AnyRequest:
        """Raises: ValueError with what is wrong with the command."""
        use_rth = self._rth(command.use_rth)
        match command:
            case HeadTimestampCommand():
                show = what_to_show.for_bars(contract.sec_type, command.what_to_show)
                return ReqHeadTimestamp(0, contract, show, use_rth)
            case Histogram():
                if not command.period.strip():
                    raise ValueError("period must be such as '3 days', '1 week' or '2 months'")
                return ReqHistogram(0, contract, use_rth, command.period)
            case Schedule():
                if not 1 <= command.days <= _DAYS_MAX:
                    raise ValueError(f"days must be 1 to {_DAYS_MAX}")
                end = _end_text(command.end, now.ns)
                duration = f"{-(-command.days // _DAYS_OF_YEAR)} Y"
                return ReqHistoricalData(0, contract, end, duration, "1 day", "SCHEDULE", use_rth)

    def _rth(self, wanted: bool | UnsetType) -> bool:
        return self._config.use_rth if wanted is UNSET else wanted

    # ---- answers

    def head(self, event: HeadTimestamp, now: Instant) -> list[Effect]:
        ask = self.asks.of(event.req_id)
        if ask is None:
            return []
        if not event.head.isdecimal():
            text = f"IB's answer {event.head!r} is no time"
            return self._reject(ask, Rejection("internal", text), ended=False)
        return self._settle(ask, {"head_ns": str(int(event.head) * _NS)}, ended=False)

    def histogram(self, event: HistogramData, now: Instant) -> list[Effect]:
        ask = self.asks.of(event.req_id)
        if ask is None:
            return []
        return self._settle(ask, {"rows": [[price, size] for price, size in event.rows]})

    def schedule(self, event: HistoricalSchedule, now: Instant) -> list[Effect]:
        ask = self.asks.of(event.req_id)
        if ask is None or not isinstance(ask.request, ReqHistoricalData):
            return []
        effects: list[Effect] = []
        end_ns = clock_ns(ask.request.end, UTC)
        for ref, contract, days in self._take(ask):
            try:
                sessions = from_schedule(event, contract.time_zone)
            except ValueError as error:
                effects.append(rejected(ref, Rejection("internal", str(error))))
                continue
            rows = [
                {
                    "trade_date": day.trade_date.strftime("%Y%m%d"),
                    "segments": [[str(start), str(end)] for start, end in day.segments],
                }
                for day in [day for day in sessions if day.start_ns < end_ns][-days:]
            ]
            result = {"con_id": contract.con_id, "time_zone": sessions.zone.key, "sessions": rows}
            effects.append(Answer(ref, Reply(id=ref.id, op=ref.op, status="result", result=result)))
        return effects + self.asks.close(ask)

    def error(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        """A question is not repeated for long: who asked is there to ask again."""
        ask = self.asks.of(event.req_id)
        if ask is None:
            return []
        judgement = judge(event, ask.request)
        match judgement.verdict:
            case "ignore":
                return []
            case "again" | "later" if ask.failures + 1 < self._config.tries_max:
                ask.failures += 1
                after_s = judgement.rejection.retry_after_s or 0.0
                return self.asks.again(ask, now, after_s=after_s if judgement.verdict == "later" else 0.0)
            case "farm":
                return self.asks.park(ask, now)
            case "slow_down":
                return [Tell("pacing", RateExceeded(event.code)), *self.asks.again(ask, now)]
            case "pacing":
                return [Tell("pacing", PacingViolated(event.req_id)), *self._reject(ask, judgement.rejection)]
        return self._reject(ask, judgement.rejection)

    def refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        ask = self.asks.of(message.req_id)
        if ask is None:
            return []
        return self._reject(ask, Rejection("busy", message.reason, None, True, message.retry_after_s))

    def wake_up(self, now: Instant) -> list[Effect]:
        effects, silent = self.asks.due(now)
        timeout_s = self._config.lookup_timeout_s
        for ask in silent:
            late = self.asks.farms.late("question", self._config.answer_timeout_s, was_asked=True)
            effects += self._reject(ask, late, ended=False)
        for name in self._deadlines.due(now.s):
            ref, _, _ = self._waiting.pop(name)
            was_asked = self.asks.waits(name)
            late = self.asks.farms.late("question", timeout_s, was_asked=was_asked)
            effects += [*self.asks.leave(name), rejected(ref, late)]
        return effects

    def stop(self) -> list[Effect]:
        """Everyone who waits is told."""
        rejection = Rejection("connection_failed", "the sidecar stops", None, True, 5.0)
        effects: list[Effect] = [rejected(ref, rejection) for ref, _, _ in self._waiting.values()]
        self._waiting.clear()
        return effects

    # ---- inside

    def _take(self, ask: Ask) -> list[tuple[CommandRef, Contract, int]]:
        found = []
        for name, _ in ask.waiters:
            self._deadlines.clear(name)
            waiting = self._waiting.pop(name, None)
            if waiting is not None:
                found.append(waiting)
        return found

    def _settle(self, ask: Ask, result: Mapping[str, object], *, ended: bool = True) -> list[Effect]:
        effects: list[Effect] = []
        for ref, contract, _ in self._take(ask):
            whole = {"con_id": contract.con_id, "instrument": contract.instrument, **result}
            effects.append(Answer(ref, Reply(id=ref.id, op=ref.op, status="result", result=whole)))
        return effects + self.asks.close(ask, ended=ended)

    def _reject(self, ask: Ask, rejection: Rejection, *, ended: bool = True) -> list[Effect]:
        effects: list[Effect] = [rejected(ref, rejection) for ref, _, _ in self._take(ask)]
        return effects + self.asks.close(ask, ended=ended)


def _end_text(end: str, now_ns: int) -> str:
    """`yyyyMMdd-HH:mm:ss` in UTC: now, or the end of a day wherever it is. Raises: ValueError for what is no time."""
    now = datetime.fromtimestamp(now_ns // _NS, UTC)
    at = now
    if end:
        since = asked(end, "", now_ns).since
        if not isinstance(since, datetime):
            since = datetime(since.year, since.month, since.day, tzinfo=UTC) + timedelta(days=1)
        at = min(now, since)
    return at.strftime("%Y%m%d-%H:%M:%S")
