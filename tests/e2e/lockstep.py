"""Simulator and sidecar in one stepped time: the clock jumps from one thing that is due to the next, once all is still.

The wire, the official client, its threads and Redis are the real ones; only time is not. So a week takes minutes, and
every deadline is as long as it says, however busy the machine is: nothing is due while something is under way.
"""

from __future__ import annotations

import fcntl
import struct
import termios
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from msgspec import structs

from ibkr_actor.actors.clock import Clock
from ibkr_actor.app import Sidecar
from ibkr_actor.core.effects import Instant
from ibkr_actor.core.messages import WakeUp
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import House, running_house, running_redis

NS = 1_000_000_000
# In this real time threads take over what lies in their sockets; looked at twice.
REST_S = 0.0001
# Rounds of the loop in which one side's tasks hand on to the next.
ROUNDS = 4
# The least step, in case something is due again and again at one time.
STEP_MIN_S = 0.01


class SteppedClock(Clock):
    """A clock that stands until it is moved. Its seconds since the start are the same on both sides."""

    def __init__(self, start_s: float) -> None:
        super().__init__(start_ns=round(start_s * NS))
        self._begin_ns = round(start_s * NS)
        self.passed_s = 0.0

    def __call__(self) -> Instant:
        return Instant(1_000.0 + self.passed_s, self._begin_ns + round(self.passed_s * NS))


# Rounds without any change before a heartbeat is taken to be unanswered.
PATIENCE = 50


class Lockstep:
    """Both sides, and the moving of their time."""

    def __init__(self, sim: Simulator, house: House, clock: SteppedClock) -> None:
        self.sim = sim
        self.house = house
        self.clock = clock
        self.steps = 0

    @property
    def now_s(self) -> float:
        """UTC of the simulated world, in seconds."""
        return self.clock.now_ns() / NS

    async def run_to(self, until_s: float) -> None:
        """Everything that is due until then happens, in order."""
        while True:
            await self.still()
            due_s = self._due_s()
            if due_s is None or due_s >= until_s:
                await self._move(until_s)
                await self.still()
                return
            await self._move(max(due_s, self.now_s + STEP_MIN_S))

    async def _move(self, to_s: float) -> None:
        self.steps += 1
        passed_s = to_s - self.now_s
        if passed_s > 0:
            self.clock.passed_s += passed_s
            await self.sim.advance(to_s - self.sim.world.clock.now_s())
        sidecar = self.house.sidecar
        now_s = self.clock().s
        for name, core in sidecar.cores.items():
            at_s = core.next_wakeup_s()
            if at_s is not None and at_s <= now_s:
                sidecar.mailboxes[name].tell(WakeUp())

    def _due_s(self) -> float | None:
        """When the next thing is due on either side, in UTC."""
        times = [at_s for core in self.house.sidecar.cores.values() if (at_s := core.next_wakeup_s()) is not None]
        mine = [at_s - self.clock().s + self.now_s for at_s in times]
        world = self.sim.world
        # In a gateway that stands still nothing of the market is due.
        market_s = world.schedule.next_s() if world.gate.is_open else None
        theirs = [at_s for at_s in (world.control.next_s(), market_s) if at_s is not None]
        return min([*mine, *theirs], default=None)

    async def still(self) -> None:
        """Returns once nothing is under way: no byte on the wire, no message in a mailbox, no record unwritten."""
        before: Any = None
        calm = 0
        while True:
            # asyncio sleeps for a millisecond at least; the threads are the only ones that need it.
            time.sleep(REST_S)  # noqa: ASYNC251 - it is the loop that is to stand still
            for _ in range(ROUNDS):
                await anyio.lowlevel.checkpoint()
            moved, busy = self._motion()
            calm = calm + 1 if not busy and moved == before else 0
            # On a busy machine the thread that reads may be kept from it: an answer that is due is waited for longer.
            if calm > (PATIENCE if self.house.sidecar.session._link.pulse.sent_s is not None else 0):
                return
            before = moved

    def _motion(self) -> tuple[tuple[object, ...], bool]:
        """What changes when something happens, and whether something waits to."""
        sidecar, world = self.house.sidecar, self.sim.world
        gateway = sidecar.gateway.counters()
        waiting = sum(len(box) for box in sidecar.mailboxes.values())
        sessions = list(world.sessions.values())
        connecting = sidecar.session.state.value == "connecting"
        unread = _unread(sidecar)
        busy = bool(waiting or unread or gateway["requests_waiting"] or gateway["inbox_waiting_bytes"] or connecting)
        moved = (
            gateway["inbox_frames"],
            gateway["requests_sent"],
            gateway["connections_opened"],
            gateway["connections_made"],
            sum(world.messages_received.values()),
            sidecar.session.state,
            len(sessions),
        )
        return moved, busy


def _unread(sidecar: Sidecar) -> int:
    """How many bytes the kernel holds for the sidecar. What a gateway writes to a loopback is there at once."""
    live = sidecar.gateway._live
    connection: Any = None if live is None else live.client.conn
    try:
        held = fcntl.ioctl(connection.socket.fileno(), termios.FIONREAD, bytes(4))
    except (AttributeError, OSError, ValueError):
        return 0  # there is none, or not any more
    return int(struct.unpack("i", held)[0])


@asynccontextmanager
async def in_step(
    start_s: float, *, sweep_s: float = 5.0, sim: dict[str, Any], **sidecar: Any
) -> AsyncIterator[Lockstep]:
    """`sim` are settings of the simulator, `sidecar` those of the sidecar."""
    settings = SimulatorSettings(start_time_s=start_s, clock_speed=0.0, **sim)
    async with running_redis() as server, Simulator(settings) as simulator:
        clock = SteppedClock(start_s)
        async with running_house(server.own_url, simulator.port, clock=clock, **sidecar) as house:
            subscriptions: Any = house.sidecar.cores["subscriptions"]
            # A look at every line each second would be most of what happens in a week.
            subscriptions._silences.config = structs.replace(subscriptions._silences.config, sweep_s=sweep_s)
            yield Lockstep(simulator, house, clock)
