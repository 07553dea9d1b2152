"""Owns what all parts of one simulator share: clock, schedule, instruments, lines, sessions, counters and journal.

Must not decide anything; it is the table the parts sit at, and the one way a message leaves.
"""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
import anyio.abc

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.clock import Clock, Schedule
from ibkr_actor.sim.desks.lines import Line, Lines
from ibkr_actor.sim.desks.rules import Cooldown, Rule, Window
from ibkr_actor.sim.faults.faults import Faults
from ibkr_actor.sim.journal import Journal
from ibkr_actor.sim.market.calendar import Calendar, zone_of
from ibkr_actor.sim.market.catalogue import default_catalogue
from ibkr_actor.sim.market.instruments import Instrument, is_test_stock
from ibkr_actor.sim.market.tape import Tape
from ibkr_actor.sim.market.tapes import Tapes
from ibkr_actor.sim.outbox import Gate
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.settings import SimulatorSettings

logger = logging.getLogger(__name__)

_NEW_YORK = zone_of("US/Eastern")


class World:
    """State of one simulator. `sessions` is client id -> session, from startApi to the end of the connection."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.clock = Clock(speed=settings.clock_speed, start_s=settings.start_time_s)
        self.rescheduled = anyio.Event()
        self.schedule = Schedule(self._wake)
        # What scripts do is due here, also while a stall holds up everything in `schedule`.
        self.control = Schedule(self._wake)
        self.gate = Gate(self._wake)
        # Answers too long for one turn of the loop are made one after the other: what clients send meanwhile is read,
        # and counted by the rules, when it comes.
        self.turns = anyio.Lock()
        self.tasks: anyio.abc.TaskGroup | None = None
        self.journal = Journal(settings.journal_file, with_payload=settings.journal_payload)
        self.catalogue = default_catalogue(self.today)
        self._tapes = Tapes(
            self.catalogue,
            seed=settings.seed,
            ticks_per_s=settings.ticks_per_s,
            market_hours=settings.market_hours,
        )
        self.faults = Faults(self.catalogue, language=settings.language)
        self.lines = Lines(self.faults.forget)
        self.on_changed: Callable[[], None] | None = None
        # What else than lines is gone when IB forgets what it was asked (1101).
        self.on_forgotten: list[Callable[[], None]] = []
        self.sessions: dict[int, Session] = {}
        self.next_valid_id = settings.next_valid_id

        self.tick_by_tick_cooldown = Cooldown(settings.tick_by_tick_interval_s)
        self.real_time_bars_window = Window(settings.real_time_bars_per_600_s, 600.0)

        self.violations: Counter[Rule] = Counter()
        self.errors_sent: Counter[int] = Counter()
        self.messages_received: Counter[int] = Counter()
        self.peak_message_rate = 0
        self.slow_clients_closed = 0
        self.requests_failed = 0
        self._changed = anyio.Event()

    def now_ms(self) -> int:
        return int(self.clock.now_s() * 1000)

    def today(self) -> datetime.date:
        """The day in New York, which decides what is listed and what has expired."""
        return datetime.datetime.fromtimestamp(self.clock.now_s(), _NEW_YORK).date()

    def tape(self, instrument: Instrument) -> Tape:
        """Everything that ever happens to an instrument. Raises: KeyError when its underlying or a leg is unknown."""
        return self._tapes.tape(instrument)

    def calendar(self, instrument: Instrument) -> Calendar:
        """When an instrument trades."""
        return self._tapes.calendar(instrument)

    def error(self, session: Session, req_id: int, code: int, text: str) -> None:
        """Send an error or notice, in the language in force, and count it."""
        self.errors_sent[code] += 1
        text = self.faults.text(text)
        session.send(m.ErrorMessage(req_id=req_id, code=code, text=text, time_ms=self.now_ms()))

    def failed(self, session: Session, req_id: int) -> None:
        """Count and answer a request that met an exception nobody foresaw: it is over, the gateway goes on."""
        self.requests_failed += 1
        self.error(session, req_id, 322, "Error processing request.-'bW' : cause - internal error")

    def violate(self, session: Session, rule: Rule) -> None:
        """Count a broken rule."""
        self.violations[rule] += 1
        logger.warning("rule_broken rule=%s client_id=%s", rule, session.client_id)

    def deliver(self, line: Line, message: m.Message) -> None:
        """Send a message on a line, under the line's own request id. The one way for data to reach a subscriber.

        Whatever flows on a subscription comes through here, keep-up-to-date bars too: a fault may hold it back or bend
        it. Callers need not ask whether a line is silent.
        """
        faults = self.faults
        if faults.silences and faults.withholds(line, message):
            return
        if faults.empty_sizes:
            message = faults.bent(line, message)
        line.session.send(m.with_req_id(message, line.req_id), instrument=line.instrument.key)

    def silent(self, instrument: Instrument) -> bool:
        """Whether the market leaves this instrument to the blast."""
        return self.settings.blast is not None and is_test_stock(instrument)

    def spawn(self, work: Callable[[], Awaitable[None]]) -> anyio.CancelScope:
        """Run `work` beside the service, for an answer too long to give in one turn; it ends with the simulator.

        Returns the scope that ends it sooner. A desk cancels it when its client goes or cancels the request. Work
        checkpoints between chunks, and awaits `gate.wait()` before each so that a stalled simulator says nothing.
        Raises: RuntimeError before the simulator runs.
        """
        if self.tasks is None:
            raise RuntimeError("the simulator does not run")
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                await work()

        self.tasks.start_soon(run)
        return scope

    def changed(self) -> None:
        """Something a waiter may look for has happened: a request was answered, a line opened or closed."""
        if self.on_changed is not None:
            self.on_changed()
        self._changed.set()
        self.journal.flush()

    async def wait_for(self, predicate: Callable[[], bool]) -> None:
        """Return once `predicate` holds; it is asked again after every request, line, session and blast."""
        while not predicate():
            self._changed = anyio.Event()
            await self._changed.wait()

    async def sleep_until(self, due_s: float) -> None:
        """Wait for simulated time."""
        due = anyio.Event()
        entry = self.schedule.at(due_s, lambda _: due.set())
        try:
            await due.wait()
        finally:
            entry.cancel()

    def _wake(self) -> None:
        self.rescheduled.set()
