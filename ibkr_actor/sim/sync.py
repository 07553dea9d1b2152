"""Owns the simulator for programs without an event loop: the same simulator on a thread of its own.

Must not add behaviour; each call runs on the simulator's loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ibkr_actor.sim.desks.rules import Rule
from ibkr_actor.sim.faults.script import Script
from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.server import InstrumentName, Simulator
from ibkr_actor.sim.settings import SimulatorSettings

_T = TypeVar("_T")


class SyncSimulator:
    """A running simulator seen from another thread. `simulator` may be read for counters at any time."""

    def __init__(self, simulator: Simulator, portal: BlockingPortal) -> None:
        self.simulator = simulator
        self._portal = portal

    @property
    def host(self) -> str:
        """Where a client on this machine connects."""
        return self.simulator.settings.host

    @property
    def port(self) -> int:
        return self.simulator.port

    @property
    def violations(self) -> Counter[Rule]:
        """How often each of IB's rules was broken so far; empty for a client that keeps them all."""
        return self.simulator.violations

    def call(self, action: Callable[[Simulator], _T]) -> _T:
        """Run `action` on the simulator's own thread and return its result, for what has no method here."""

        async def run() -> _T:
            return action(self.simulator)

        return self._portal.call(run)

    def wait_for(self, predicate: Callable[[Simulator], bool], *, timeout_s: float = 30.0) -> None:
        """Block until `predicate(simulator)` holds. Raises: TimeoutError."""

        async def wait() -> None:
            await self.simulator.wait_for(lambda: predicate(self.simulator), timeout_s=timeout_s)

        self._portal.call(wait)

    def emit(self, name: InstrumentName, message: Message) -> int:
        return self.call(lambda sim: sim.emit(name, message))

    def send(self, message: Message, *, client_id: int | None = None) -> None:
        self.call(lambda sim: sim.send(message, client_id=client_id))

    def send_error(self, name: InstrumentName, code: int, text: str) -> int:
        return self.call(lambda sim: sim.send_error(name, code, text))

    def refuse(
        self,
        code: int,
        text: str,
        *,
        instrument: InstrumentName | None = None,
        req_id: int | None = None,
        times: int | None = 1,
    ) -> None:
        self.call(lambda sim: sim.refuse(code, text, instrument=instrument, req_id=req_id, times=times))

    def send_notice(self, code: int, text: str) -> None:
        self.call(lambda sim: sim.send_notice(code, text))

    def send_raw(self, data: bytes) -> None:
        self.call(lambda sim: sim.send_raw(data))

    def cut(self, *, reset: bool = False) -> None:
        self.call(lambda sim: sim.cut(reset=reset))

    def cut_after(self, count: int) -> None:
        self.call(lambda sim: sim.cut_after(count))

    def stall(self) -> None:
        self.call(lambda sim: sim.stall())

    def resume(self) -> None:
        self.call(lambda sim: sim.resume())

    def refuse_connections(self, refuse: bool) -> None:
        self._portal.call(self.simulator.refuse_connections, refuse)

    def act(self, name: str, /, **arguments: object) -> None:
        """Do one of the actions of scripts now. Raises: ActionError, KeyError."""
        self.call(lambda sim: sim.act(name, **arguments))

    def play_scenario(self, what: str | Path | Script) -> Script:
        """Begin a scenario by name, a script by path, or one already read. Raises: ScriptError."""
        return self.call(lambda sim: sim.play_scenario(what))

    @property
    def scenario_done(self) -> bool:
        """Whether all that was played is done and over."""
        return self.call(lambda sim: sim.scenario_done)

    def advance(self, seconds: float) -> None:
        self._portal.call(self.simulator.advance, seconds)


@contextmanager
def simulator(settings: SimulatorSettings | None = None) -> Iterator[SyncSimulator]:
    """`with simulator(SimulatorSettings(...)) as sim:` runs one on a thread and stops it at the end.

    Raises: as Simulator does.
    """
    with start_blocking_portal() as portal:
        made = portal.call(Simulator, settings)
        with portal.wrap_async_context_manager(made) as running:
            yield SyncSimulator(running, portal)
