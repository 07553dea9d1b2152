"""Owns the passing of simulated time: running what is due, for a clock that runs and for one that is moved.

Must not know what is due; two schedules do.
"""

from __future__ import annotations

import anyio
import anyio.lowlevel

from ibkr_actor.sim.faults.action import Scene
from ibkr_actor.sim.world import World

# Entries of a schedule run before clients get a turn.
_BATCH = 500


class Pump:
    """Runs `world.control` always, and `world.schedule` while the simulator is not stalled."""

    def __init__(self, world: World, scene: Scene) -> None:
        self._world = world
        self._scene = scene

    async def run(self) -> None:
        """For a running clock: run what is due, then sleep until the next thing is."""
        world = self._world
        while True:
            world.rescheduled = anyio.Event()
            now_s = world.clock.now_s()
            more = world.control.run_due(now_s, _BATCH)
            if world.gate.is_open:
                more = world.schedule.run_due(now_s, _BATCH) or more
            if more:
                await anyio.lowlevel.checkpoint()
                continue
            world.journal.flush()
            with anyio.move_on_after(world.clock.real_delay_s(self._next_s())):
                await world.rescheduled.wait()

    async def advance(self, seconds: float) -> None:
        """For a standing clock: move it, doing all that falls due on the way, in order.

        Raises: ValueError for a clock that runs.
        """
        world = self._world
        target_s = world.clock.now_s() + seconds
        await self._scene.settled()
        while (due_s := self._next_s()) is not None and due_s <= target_s:
            world.clock.set(max(due_s, world.clock.now_s()))
            first = world.control.next_s()
            if first is not None and first <= due_s:
                world.control.run_due(due_s, 1)
                await self._scene.settled()
            else:
                world.schedule.run_due(due_s, _BATCH)
            await anyio.lowlevel.checkpoint()
        world.clock.set(target_s)
        world.journal.flush()

    def _next_s(self) -> float | None:
        """When the next thing is due; a stalled market has nothing."""
        due = [self._world.control.next_s()]
        if self._world.gate.is_open:
            due.append(self._world.schedule.next_s())
        return min((each for each in due if each is not None), default=None)
