"""Owns the simulator as a whole: the listening socket, the clients' tasks, the pump of time, and the API of tests.

Must not know message layouts or market rules; those are service, stage and responses.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.abc

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.blast import Blast, BlastReport
from ibkr_actor.sim.clients import Clients
from ibkr_actor.sim.desks.feed import wants
from ibkr_actor.sim.desks.lines import Line
from ibkr_actor.sim.desks.refusals import Refusal
from ibkr_actor.sim.desks.rules import Rule
from ibkr_actor.sim.desks.stage import Stage
from ibkr_actor.sim.faults.action import Scene
from ibkr_actor.sim.faults.actions import make_action
from ibkr_actor.sim.faults.director import Director, with_seconds
from ibkr_actor.sim.faults.script import Script, ScriptError
from ibkr_actor.sim.listener import Listener
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.pump import Pump
from ibkr_actor.sim.replay.frame_replay import Player
from ibkr_actor.sim.scenarios import load_scenario
from ibkr_actor.sim.service import Service
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.settings import SimulatorSettings
from ibkr_actor.sim.world import World

logger = logging.getLogger(__name__)

InstrumentName = str | int | Instrument


class Simulator:
    """A TWS on a socket. Use as `async with Simulator(settings) as sim`; `sim.port` is where it listens.

    Counters: `violations` by rule, `errors_sent` by IB code, `messages_received` by message id. `replayed` is the
    instrument that is a recording, when there is one.
    """

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        """Raises: ReplayError for a recording, ScriptError for a scenario, OSError for a journal that is unusable."""
        self.settings = settings if settings is not None else SimulatorSettings()
        self.world = World(self.settings)
        self._stage = Stage(self.world)
        self._service = Service(self.world, self._stage)
        self._blast = None if self.settings.blast is None else Blast(self.world, self.settings.blast)
        player = None if self.settings.play is None else Player(self.world, self._service, self.settings.play)
        self._clients = Clients(self.world, self._service, self._line_opened, player)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._listener = Listener(self.settings.host, self.settings.port, self._clients.serve)
        self._scene = Scene(self.world, self._stage, self._clients.connected, self._listener)
        self._director = Director(self._scene)
        self._clients.watcher = self._director
        self.world.on_changed = self._director.lines_opened
        self._pump = Pump(self.world, self._scene)
        self.violations: Counter[Rule] = self.world.violations
        self.errors_sent: Counter[int] = self.world.errors_sent
        self.messages_received: Counter[int] = self.world.messages_received
        self.replayed: Instrument | None = self._stage.replayed
        self.actions_done: Counter[str] = self._director.done
        self._scripts = [load_scenario(each) for each in self.settings.scenarios]

    async def __aenter__(self) -> Self:
        """Raises: OSError when the port cannot be had, ScriptError for a scenario that names what there is not."""
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self.world.tasks = self._tasks
        try:
            await self._listener.start(self._tasks)
            for script in self._scripts:
                self._director.play(script)
        except (OSError, ScriptError):
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
            raise
        if self.settings.clock_speed > 0:
            self._tasks.start_soon(self._pump.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        self.world.gate.open()
        self._tasks.cancel_scope.cancel()
        try:
            # What the body raises is the body's own and must not come out wrapped in a group.
            if isinstance(error, Exception):
                await self._tasks.__aexit__(None, None, None)
                return None
            return await self._tasks.__aexit__(kind, error, trace)
        finally:
            self.world.journal.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._listener.port

    @property
    def peak_message_rate(self) -> int:
        """The most messages any one client sent within a second."""
        return self.world.peak_message_rate

    @property
    def slow_clients_closed(self) -> int:
        """Clients hung up on because they did not read."""
        return self.world.slow_clients_closed

    @property
    def requests_failed(self) -> int:
        """Requests that met a mistake of the simulator's own: answered with 320 or 322, told in the log."""
        return self.world.requests_failed

    @property
    def blast_report(self) -> BlastReport | None:
        """What the blast sent, once it is over."""
        return None if self._blast is None else self._blast.report

    def instrument(self, name: InstrumentName) -> Instrument:
        """By symbol, forex pair, key or con_id. Raises: KeyError."""
        return self.world.catalogue.find(name)

    def clients(self) -> list[int]:
        """Ids of the clients that have called startApi."""
        return sorted(self.world.sessions)

    def line_count(self, name: InstrumentName | None = None) -> int:
        """Open subscriptions of all kinds, of one instrument or of all."""
        return len(self.world.lines) if name is None else len(self._lines(name))

    async def wait_for(self, predicate: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
        """Return once `predicate` holds. Raises: TimeoutError."""
        with anyio.move_on_after(timeout_s):
            await self.world.wait_for(predicate)
            return
        raise TimeoutError(f"what was waited for did not come true within {timeout_s:g} s")

    async def advance(self, seconds: float) -> None:
        """Move a standing clock (clock_speed 0), doing all that falls due on the way, in order. Raises: ValueError."""
        if self.settings.clock_speed != 0:
            raise ValueError("this clock runs by itself: only one with clock_speed=0 is moved by advance")
        await self._pump.advance(seconds)

    # What a test can make it say

    def emit(self, name: InstrumentName, message: m.Message) -> int:
        """Push a message to every line of the instrument that takes its kind; returns how many lines that was."""
        lines = [line for line in self._lines(name) if wants(line, message)]
        for line in lines:
            self.world.deliver(line, message)
        return len(lines)

    def send(self, message: m.Message, *, client_id: int | None = None) -> None:
        """Send a message exactly as it is, req_id included, to one client or to all."""
        for session in self._chosen(client_id):
            session.send(message)

    def send_notice(self, code: int, text: str, *, client_id: int | None = None) -> None:
        """A notice (error with id -1) such as 1100, 1101 or 1102."""
        for session in self._chosen(client_id):
            self.world.error(session, -1, code, text)

    def bulletin(self, text: str, bulletin_type: int = 1, exchange: str = "") -> int:
        """A news bulletin to every client that wants them, now and later; returns how many get it now."""
        return self._service.news.say(text, bulletin_type, exchange)

    def send_error(self, name: InstrumentName, code: int, text: str) -> int:
        """Send an error now on every line of the instrument; the lines stay open. Returns how many."""
        lines = self._lines(name)
        for line in lines:
            self.world.error(line.session, line.req_id, code, text)
        return len(lines)

    def refuse(
        self,
        code: int,
        text: str,
        *,
        instrument: InstrumentName | None = None,
        req_id: int | None = None,
        times: int | None = 1,
    ) -> None:
        """Answer the next `times` requests (None: all) for an instrument or a req_id with this error."""
        refusal = Refusal(code, text, times)
        if instrument is None or req_id is not None:
            con_id = None if instrument is None else self.instrument(instrument).con_id
            self._service.refusals.add(refusal, con_id=con_id, req_id=req_id)
            return
        for con_id in self.world.catalogue.named(instrument):
            self._service.refusals.add(refusal, con_id=con_id)

    def send_raw(self, data: bytes, *, client_id: int | None = None) -> None:
        """Write bytes as they are: garbage, an oversize length, half a frame."""
        for session in self._chosen(client_id):
            session.send_raw(data)

    # Faults

    def cut(self, *, client_id: int | None = None, reset: bool = False) -> None:
        """Close connections at once, dropping what is queued; `reset` with RST."""
        sessions = self._clients.connected.values() if client_id is None else self._chosen(client_id)
        for session in list(sessions):
            session.close(reset=reset)

    def cut_after(self, count: int, *, client_id: int | None = None) -> None:
        """Close each connection once `count` more bytes have been written to it, in the middle of a frame if so."""
        for session in self._chosen(client_id):
            session.cut_after(count)

    def stall(self) -> None:
        """Freeze: sockets stay open, nothing is read, written or generated until `resume`."""
        self.world.gate.close()

    def resume(self) -> None:
        self.world.gate.open()

    async def refuse_connections(self, refuse: bool) -> None:
        """Stop or start listening on the same port; open connections stay."""
        self._listener.want(not refuse)
        await self._listener.follow()

    # Faults by name

    def act(self, name: str, /, **arguments: object) -> None:
        """Do one of the actions of scripts now: `act("zombie", instrument="AAPL", for_s=60)`. Times are seconds.

        Raises: ActionError for a name or argument there is not, KeyError for an instrument there is not.
        """
        self._director.act(make_action(name, with_seconds(arguments)))

    def play_scenario(self, what: str | Path | Script) -> Script:
        """Begin a shipped scenario by name, a script by path (ending in .toml), or one read by `parse_script`.

        Raises: ScriptError.
        """
        script = what if isinstance(what, Script) else load_scenario(what)
        self._director.play(script)
        return script

    @property
    def scenario_done(self) -> bool:
        """Whether every step of what was played is done (those without end: once) and what was to last is over."""
        return self._director.finished

    def start_blast(self) -> None:
        """Start the blast with the lines there are. Raises: RuntimeError without blast settings or when started."""
        if self._blast is None or self._blast.started or self._tasks is None:
            raise RuntimeError("no blast to start")
        self._blast.started = True
        self._tasks.start_soon(self._blast.run)

    def _lines(self, name: InstrumentName) -> list[Line]:
        """The open lines of all the name means, in the order they were opened. Raises: KeyError."""
        con_ids = self.world.catalogue.named(name)
        return [line for line in self.world.lines if line.instrument.con_id in con_ids]

    def _line_opened(self) -> None:
        if self._blast is not None and self._blast.starts_now():
            self.start_blast()

    def _chosen(self, client_id: int | None) -> list[Session]:
        """Raises: KeyError when no such client is connected."""
        return list(self.world.sessions.values()) if client_id is None else [self.world.sessions[client_id]]


async def run_simulator(settings: SimulatorSettings, *, started: Callable[[Simulator], None] | None = None) -> None:
    """Run a simulator until cancelled; `started` is called once it listens.

    Raises: ReplayError, OSError, as Simulator does.
    """
    async with Simulator(settings) as simulator:
        version = "of the recording" if settings.play is not None else settings.server_version
        logger.info("simulator_listening host=%s port=%d server_version=%r", settings.host, simulator.port, version)
        if simulator.replayed is not None:
            logger.info("simulator_replays file=%s instrument=%s", settings.replay_file, simulator.replayed.key)
        if started is not None:
            started(simulator)
        await anyio.sleep_forever()
