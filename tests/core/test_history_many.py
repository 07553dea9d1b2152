"""Many jobs on a clock that is stepped: planner and pacing together ask as fast as IB allows, and no faster."""

from __future__ import annotations

import heapq
from datetime import date, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct, structs

from ibkr_actor.core.config import HistoryConfig, PacingConfig
from ibkr_actor.core.effects import Core, Effect, Notify, Send, Tell, WriteJob
from ibkr_actor.core.history.core import HistoryCore
from ibkr_actor.core.history.events import HistoricalBar, HistoricalBars, HistoricalSchedule
from ibkr_actor.core.messages import JobWritten, ResolvedCommand, SessionUp, WakeUp
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.requests import ReqHistoricalData
from ibkr_actor.schema.commands import History
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Done
from tests.core.kit import at, ns, ref
from tests.core.markets import days_of, schedule

ANSWER_S = 1.0
NEW_YORK = ZoneInfo("America/New_York")
# 30 trade dates before the tests' present, 2026-01-01.
FIRST, LAST, DATES = date(2025, 11, 18), date(2025, 12, 31), 30
OPENS = {
    day.trade_date: int(datetime.combine(day.trade_date, datetime.min.time(), NEW_YORK).timestamp()) + 34_200
    for day in days_of("us-rth")
}


class Machine:
    """History and pacing, and a gateway that answers a second after it was asked, with the first bar of each date."""

    def __init__(self, config: HistoryConfig) -> None:
        self.cores: dict[str, Core] = {
            "history": HistoryCore(config),
            "pacing": PacingCore(PacingConfig(queue_max=10_000)),
        }
        self.now_s = 0.0
        self.sent: list[tuple[float, ReqHistoricalData]] = []
        self.done: list[Done] = []
        self.etas: list[tuple[float, float]] = []
        self._due: list[tuple[float, int, Struct]] = []
        self._count = 0

    def tell(self, to: str, message: Struct) -> None:
        queue: list[tuple[str, Struct]] = [(to, message)]
        while queue:
            name, first = queue.pop(0)
            for effect in self.cores[name].handle(first, at(self.now_s)):
                queue += self._effect(effect)

    def _effect(self, effect: Effect) -> list[tuple[str, Struct]]:
        match effect:
            case Tell(to, message) if to in self.cores:
                return [(to, message)]
            case Send(request) if isinstance(request, ReqHistoricalData):
                self.sent.append((self.now_s, request))
                self._count += 1
                heapq.heappush(self._due, (self.now_s + ANSWER_S, self._count, self._answer(request)))
            case WriteJob(job, entries, number, _):
                self.done += [entry for entry in entries if isinstance(entry, Done)]
                return [("history", JobWritten(job, number))]
            case Notify(_, reply) if reply.status == "progress" and isinstance(reply.result, dict):
                if reply.result["job"] == "c299.1" and reply.result["eta_s"] is not None:
                    self.etas.append((self.now_s, reply.result["eta_s"]))
        return []

    def _answer(self, request: ReqHistoricalData) -> HistoricalSchedule | HistoricalBars:
        if request.what_to_show == "SCHEDULE":
            return structs.replace(schedule("us-rth"), req_id=request.req_id)
        last = datetime.strptime(request.end + "+0000", "%Y%m%d-%H:%M:%S%z").astimezone(NEW_YORK).date()
        count, unit = request.duration.split()
        assert unit == "D"
        dates = sorted(day for day in OPENS if day <= last)[-int(count) :]
        bars = tuple(HistoricalBar(str(OPENS[day]), 1.0, 1.0, 1.0, 1.0, "1", "1", 1) for day in dates)
        return HistoricalBars(request.req_id, ns(self.now_s + ANSWER_S), bars, True)

    def run(self) -> None:
        """Until nothing is due any more."""
        while True:
            times = [(core.next_wakeup_s(), name) for name, core in self.cores.items()]
            wakes = [(due_s, name) for due_s, name in times if due_s is not None]
            if self._due and (not wakes or self._due[0][0] <= min(wakes)[0]):
                self.now_s, _, message = heapq.heappop(self._due)
                self.tell("history", message)
            elif wakes and len(self.done) < 300:
                due_s, name = min(wakes)
                self.now_s = max(self.now_s, due_s)
                self.tell(name, WakeUp())
            else:
                return


def test_300_symbols_by_30_days_of_5_second_bars_keep_to_the_rule_and_waste_nothing() -> None:
    # A window of one date each: the 9,000 requests that IB's older table makes of it.
    machine = Machine(HistoryConfig(bars_max=4_800, progress_s=60.0))
    for name in ("pacing", "history"):
        machine.tell(name, SessionUp(1, 226))
    for n in range(300):
        contract = Contract(1000 + n, f"S{n}", "STK", "SMART", "USD", f"S{n}.STK.SMART.USD", time_zone="US/Eastern")
        command = History(instrument=f"S{n}", start=str(FIRST), end=str(LAST), bar="5s", use_rth=True)
        machine.tell("history", ResolvedCommand(ref("1", f"c{n}", "history"), command, contract))
    machine.run()

    assert [(done.outcome, done.rows, done.holes) for done in machine.done] == [("complete", DATES, [])] * 300
    small = [(s, request) for s, request in machine.sent if request.bar_size == "5 secs"]
    assert len(small) == 300 * DATES
    times = [s for s, _ in small]
    assert all(later - earlier > 600.0 for earlier, later in zip(times, times[60:], strict=False))
    bound_s = (len(small) - 60) / 60 * 600.5 + ANSWER_S
    assert bound_s <= machine.now_s <= bound_s * 1.03
    # What was foretold along the way came true, within a window: one more may be under way than was counted.
    assert len(machine.etas) > 100
    assert all(abs(told_s + eta_s - machine.now_s) <= 601 for told_s, eta_s in machine.etas)
