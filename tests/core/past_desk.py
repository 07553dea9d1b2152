"""A history core at work: sends it commands, remembers what it asks, and answers as a market's own list of bars would.

Answers only what the test lets it; times are literal.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import structs

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Answer, Effect, Notify, Tell, WriteJob
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.history.core import HistoryCore
from ibkr_actor.core.history.events import HeadTimestamp as HeadEvent
from ibkr_actor.core.history.events import HistoricalBars, HistoricalTicks
from ibkr_actor.core.history.job import JobState, decode_state
from ibkr_actor.core.history.resolutions import RESOLUTIONS
from ibkr_actor.core.messages import (
    Enqueue,
    JobWritten,
    PacingViolated,
    RequestEnded,
    RequestSent,
    ResolvedCommand,
    RestoreJobs,
    SessionDown,
    SessionUp,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.requests import AnyRequest, ReqHeadTimestamp, ReqHistoricalData, ReqHistoricalTicks
from ibkr_actor.schema.commands import AnyCommand, History, HistoryTicks, Reply
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Bars, Done, Ticks
from tests.core.kit import at, ns, one, only, ref, stock
from tests.core.markets import NS, answer, bars_between, schedule

# The tests' present is 2026-01-01. December 2025 has 22 trade dates of seven bars, the 24th of four: with 35 bars at
# most in an answer they are five requests.
DECEMBER = History(instrument="AAPL", start="2025-12-01", end="2025-12-31", bar="1h", use_rth=True)
FIVE = HistoryConfig(bars_max=35, use_rth=True)
BARS = 21 * 7 + 4
A_WINDOW = 35
MARKET = "us-rth"


def december() -> list[int]:
    """Where the hourly bars of December begin, in nanoseconds."""
    first, last = (datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    bars = bars_between(MARKET, RESOLUTIONS["1h"], int(first.timestamp()), int(last.timestamp()))
    return [bar.start_s * NS for bar in bars]


class PastDesk:
    def __init__(self, config: HistoryConfig = FIVE, *, up: bool = True) -> None:
        self.core = HistoryCore(config)
        self.conn = 0
        # req_id -> what is asked and not answered, oldest first.
        self.open: dict[int, AnyRequest] = {}
        self.withdrawn: list[int] = []
        self.violated: list[int] = []
        self.writes: list[WriteJob] = []
        # job -> how far it is, as Redis has it.
        self.states: dict[str, bytes] = {}
        if up:
            self.up(0)

    # ---- messages

    def note(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, WriteJob):
                self.writes.append(effect)
                if effect.state is None:
                    del self.states[effect.job]
                else:
                    self.states[effect.job] = effect.state
            elif isinstance(effect, Tell):
                self._told(effect)
            elif isinstance(effect, Answer):
                self.states.update({write.field: write.value for write in effect.jobs if write.value is not None})
        return effects

    def _told(self, tell: Tell) -> None:
        match tell.message:
            case Enqueue(request=request):
                assert request.req_id not in self.open
                self.open[request.req_id] = request
            case RequestEnded(req_id=req_id):
                self.open.pop(req_id, None)
            case Withdraw(req_id=req_id):
                self.open.pop(req_id, None)
                self.withdrawn.append(req_id)
            case PacingViolated(req_id=req_id):
                self.violated.append(req_id)

    def up(self, s: float) -> list[Effect]:
        self.conn += 1
        return self.note(self.core.handle(SessionUp(self.conn, 200), at(s)))

    def down(self, s: float) -> list[Effect]:
        self.open.clear()
        return self.note(self.core.handle(SessionDown(self.conn, ns(s), "disconnect", "lost"), at(s)))

    def send(
        self, command: AnyCommand, s: float = 0, id: str = "1", client: str = "c", contract: Contract | None = None
    ) -> list[Effect]:
        op = str(type(command).__struct_config__.tag)
        named = contract or (stock() if isinstance(getattr(command, "instrument", None), str) else None)
        return self.note(self.core.handle(ResolvedCommand(ref(id, client, op), command, named), at(s)))

    def restore(self, states: dict[str, bytes], s: float = 0) -> list[Effect]:
        self.states = dict(states)
        return self.note(self.core.handle(RestoreJobs(states), at(s)))

    def sent(self, req_id: int, s: float) -> None:
        self.note(self.core.handle(RequestSent(req_id, s), at(s)))

    def wake(self, s: float) -> list[Effect]:
        return self.note(self.core.handle(WakeUp(), at(s)))

    def written(self, job: str, number: int, s: float = 0) -> list[Effect]:
        return self.note(self.core.handle(JobWritten(job, number), at(s)))

    def error(self, req_id: int, code: int, message: str = "", s: float = 0) -> list[Effect]:
        return self.note(self.core.handle(ErrorNotice(self.conn, ns(s), req_id, code, message), at(s)))

    # ---- answers

    def answer(self, req_id: int, s: float = 0) -> list[Effect]:
        """The market's answer to one request."""
        request = self.open[req_id]
        assert isinstance(request, ReqHistoricalData)
        if request.what_to_show == "SCHEDULE":
            return self.note(self.core.handle(structs.replace(schedule(MARKET), req_id=req_id), at(s)))
        resolution = next(row for row in RESOLUTIONS.values() if row.bar_size == request.bar_size)
        bars = answer(MARKET, resolution, request.end, request.duration)
        return self.note(self.core.handle(HistoricalBars(req_id, ns(s), tuple(bars), True), at(s)))

    def empty(self, req_id: int, s: float = 0) -> list[Effect]:
        return self.note(self.core.handle(HistoricalBars(req_id, ns(s), (), True), at(s)))

    def head(self, req_id: int, text: str, s: float = 0) -> list[Effect]:
        return self.note(self.core.handle(HeadEvent(req_id, ns(s), text), at(s)))

    def page(self, event: HistoricalTicks, s: float = 0) -> list[Effect]:
        return self.note(self.core.handle(event, at(s)))

    def finish(self, s: float = 0) -> list[Effect]:
        """Answers everything there is, until nothing is asked any more."""
        effects: list[Effect] = []
        while self.open:
            effects += self.answer(next(iter(self.open)), s)
        return effects

    # ---- what came of it

    @property
    def asked(self) -> list[int]:
        """Ids of what is asked and not answered."""
        return list(self.open)

    @property
    def windows(self) -> list[ReqHistoricalData]:
        """The requests for bars that are open."""
        found = [each for each in self.open.values() if isinstance(each, ReqHistoricalData)]
        return [each for each in found if each.what_to_show != "SCHEDULE"]

    @property
    def heads(self) -> list[ReqHeadTimestamp]:
        return [each for each in self.open.values() if isinstance(each, ReqHeadTimestamp)]

    @property
    def pages(self) -> list[ReqHistoricalTicks]:
        return [each for each in self.open.values() if isinstance(each, ReqHistoricalTicks)]

    def begun(self, command: History | HistoryTicks = DECEMBER, s: float = 0, id: str = "1", client: str = "c") -> str:
        """Starts a job and answers its question for sessions; the job's name."""
        self.send(command, s, id, client)
        for req_id in self.asked:
            request = self.open[req_id]
            if isinstance(request, ReqHistoricalData) and request.what_to_show == "SCHEDULE":
                self.answer(req_id, s)
        return f"{client}.{id}"

    def rows(self, job: str) -> list[int]:
        """Where the delivered bars begin, or when the ticks were, in the order of the job's stream."""
        entries = [entry for write in self.writes if write.job == job for entry in write.entries]
        return [int(row[0] or 0) for entry in entries if isinstance(entry, Bars | Ticks) for row in entry.rows]

    def done(self, job: str) -> Done:
        (found,) = [
            entry for write in self.writes if write.job == job for entry in write.entries if isinstance(entry, Done)
        ]
        return found

    def is_done(self, job: str) -> bool:
        return any(write.job == job and write.state is None for write in self.writes)

    def read_state(self, job: str) -> JobState:
        return decode_state(self.states[job])


def reply(effects: list[Effect]) -> Reply:
    return one(Answer, effects).reply


def later(effects: list[Effect]) -> list[Reply]:
    """Replies to commands that were settled before."""
    return [effect.reply for effect in only(Notify, effects)]
