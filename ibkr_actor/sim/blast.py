"""Owns the benchmark mode: ticks encoded ahead for each client's version, sent in order at a rate or unpaced.

Must not be used while a test looks at the market: it sends nothing but running numbers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import anyio
import msgspec

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.lines import Kind, Line
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.settings import BlastSettings
from ibkr_actor.sim.wire.responses import LAYOUTS
from ibkr_actor.sim.world import World

logger = logging.getLogger(__name__)

# Frames joined into one write when unpaced; also how many are encoded before others may run.
_CHUNK_TICKS = 1000


class BlastReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent: `per_instrument` is key -> number of ticks, whose running numbers are 1..that."""

    ticks: int
    seconds: float
    per_instrument: dict[str, int]


class Blast:
    """Tick i goes to instrument i mod M, in order of con_id, to every line it has."""

    def __init__(self, world: World, settings: BlastSettings) -> None:
        self._world = world
        self._settings = settings
        self.started = False
        self.report: BlastReport | None = None

    def starts_now(self) -> bool:
        """Whether it is to start by itself and as many instruments as wanted have a line of the right kind."""
        if self.started or not self._settings.automatic:
            return False
        return len({line.instrument.con_id for line in self._candidates()}) >= self._settings.instruments

    async def run(self) -> None:
        """Encode everything, then send; `report` stands when all is handed to the sockets' outboxes."""
        self.started = True
        targets = self._targets()
        prepared = [(session, await self._prepare(session, targets)) for session in self._sessions(targets)]
        logger.info("blast_started ticks=%d instruments=%d", self._settings.ticks, len(targets))
        began_s = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for session, frames in prepared:
                tasks.start_soon(self._send_paced if self._settings.rate else self._send_at_once, session, frames)
        seconds = time.perf_counter() - began_s
        counts = {lines[0].instrument.key: 0 for lines in targets}
        for place, key in enumerate(counts):
            counts[key] = len(range(place, self._settings.ticks, len(targets)))
        self.report = BlastReport(ticks=self._settings.ticks, seconds=seconds, per_instrument=counts)
        logger.info("blast_done ticks=%d seconds=%.3f", self._settings.ticks, seconds)
        self._world.changed()

    def _candidates(self) -> Iterator[Line]:
        kind = Kind.TICK_BY_TICK if self._settings.kind == "trade" else Kind.MARKET_DATA
        for line in self._world.lines:
            wrong_view = kind is Kind.TICK_BY_TICK and line.view not in ("Last", "AllLast")
            if line.kind is kind and not wrong_view and self._world.silent(line.instrument):
                yield line

    def _targets(self) -> list[list[Line]]:
        """The lines of each instrument, instruments in order of con_id."""
        by_con_id: dict[int, list[Line]] = {}
        for line in sorted(self._candidates(), key=lambda each: each.instrument.con_id):
            by_con_id.setdefault(line.instrument.con_id, []).append(line)
        return list(by_con_id.values())[: self._settings.instruments]

    def _sessions(self, targets: list[list[Line]]) -> list[Session]:
        return list({line.session.number: line.session for lines in targets for line in lines}.values())

    async def _prepare(self, session: Session, targets: list[list[Line]]) -> list[bytes]:
        """One entry for each tick: the frames of this session's lines of that tick's instrument."""
        own = [[line for line in lines if line.session is session] for lines in targets]
        frames: list[bytes] = []
        for index in range(self._settings.ticks):
            number, place = divmod(index, len(own))
            frames.append(b"".join([self._frame(session, line, number + 1) for line in own[place]]))
            if index % _CHUNK_TICKS == 0:
                await anyio.lowlevel.checkpoint()
        return frames

    def _frame(self, session: Session, line: Line, number: int) -> bytes:
        message = blast_tick(line.instrument, self._settings.kind, number, line.req_id, line.view)
        data = session.encode(message)
        journal = self._world.journal
        if journal.active:
            message_id = LAYOUTS[type(message)].message_id
            now_s = self._world.clock.now_s()
            journal.outgoing(now_s, session.peer, data, message_id, line.req_id, line.instrument.key)
        return data

    async def _send_at_once(self, session: Session, frames: list[bytes]) -> None:
        for first in range(0, len(frames), _CHUNK_TICKS):
            if not await session.send_bulk(b"".join(frames[first : first + _CHUNK_TICKS])):
                return

    async def _send_paced(self, session: Session, frames: list[bytes]) -> None:
        began_s = time.perf_counter()
        sent = 0
        while sent < len(frames):
            due = min(len(frames), int((time.perf_counter() - began_s) * self._settings.rate) + 1)
            if due > sent:
                if not await session.send_bulk(b"".join(frames[sent:due])):
                    return
                sent = due
            await anyio.sleep(max(0.0, began_s + sent / self._settings.rate - time.perf_counter()))


def blast_tick(instrument: Instrument, kind: str, number: int, req_id: int, view: str = "AllLast") -> m.Message:
    """Tick `number` (1, 2, 3, ...) of an instrument: its size is the number, its price follows from it."""
    tick = float(instrument.min_tick)
    # Quotes come in pairs, bid then ask two ticks above, so that no two neighbours cross.
    pair, is_ask = divmod(number - 1, 2)
    price = round(instrument.start_price + (pair % 100 + 2 * is_ask) * tick, instrument.decimals)
    if kind == "size":
        return m.TickSize(tick_type=0, size=number, req_id=req_id)
    if kind == "trade":
        tick_type = 1 if view == "Last" else 2
        return m.TickByTickLast(
            tick_type=tick_type, time=1_700_000_000, price=price, size=number, exchange="SIM", req_id=req_id
        )
    return m.TickPrice(tick_type=1 + is_ask, price=price, size=number, attrib_mask=0, req_id=req_id)
