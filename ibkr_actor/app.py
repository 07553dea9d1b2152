"""The sidecar, put together: which parts there are, how data flows through them, and in what order they end.

    gateway socket -> tws reader -> inbox -> router -> mailboxes -> actors (core) -> effects -> bus -> Redis Streams
    Redis command stream -> bus reader -> contracts -> subscriptions -> pacing -> gateway socket

Builds and joins; decides nothing.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskGroup
from msgspec import to_builtins

from ibkr_actor import configs
from ibkr_actor.actors.actor import Actor
from ibkr_actor.actors.clock import Clock, system_clock
from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.actors.perform import Performer
from ibkr_actor.actors.router import Router
from ibkr_actor.bus.bus import Bus
from ibkr_actor.bus.embedded import EmbeddedRedis
from ibkr_actor.core.contracts.core import ContractsCore
from ibkr_actor.core.effects import ActorName, CommandRef, Core
from ibkr_actor.core.events import Event, Heard
from ibkr_actor.core.history.core import HistoryCore
from ibkr_actor.core.messages import (
    CommandReceived,
    CommandsReadable,
    JobWritten,
    RedisForgot,
    RestoreContracts,
    RestoreHolders,
    RestoreJobs,
    RestorePacing,
    Start,
    Stop,
)
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.reference.core import ReferenceCore
from ibkr_actor.core.session.core import SessionCore
from ibkr_actor.core.subscriptions.core import SubscriptionsCore
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.figures import Figures
from ibkr_actor.reloading import Reloaded, Reloading
from ibkr_actor.schema.commands import Rejection, Reply
from ibkr_actor.schema.records import System
from ibkr_actor.settings import Settings
from ibkr_actor.tws.gateway import Gateway
from ibkr_actor.tws.inbox import FrameBatch, Inbox
from ibkr_actor.tws.recorder import Recorder
from ibkr_actor.tws.versions import check_ibapi

ACTORS: Final[tuple[ActorName, ...]] = ("session", "contracts", "reference", "subscriptions", "history", "pacing")

FromBus = (
    CommandReceived | CommandsReadable | RedisForgot | RestoreContracts | RestoreHolders | RestorePacing | RestoreJobs
)
FROM_BUS: Final[dict[type[FromBus], tuple[ActorName, ...]]] = {
    CommandReceived: ("contracts",),
    RestoreContracts: ("contracts",),
    RestoreHolders: ("subscriptions",),
    RestorePacing: ("pacing",),
    RestoreJobs: ("history",),
    CommandsReadable: ("subscriptions",),
    RedisForgot: ("contracts", "subscriptions", "history", "pacing"),
}

# How often the session is told that data comes.
HEARD_EVERY_NS: Final = 1_000_000_000

log = logging.getLogger(__name__)


async def run(
    settings: Settings,
    *,
    stopping: anyio.Event,
    started: Callable[[Sidecar], None] | None = None,
    clock: Clock = system_clock,
    reread: Callable[[], Settings] | None = None,
) -> None:
    """Serves until `stopping` is set, then winds down. Redis and the gateway may come and go meanwhile.

    `clock` is that of the gateway's world: another than the system's only beside a simulator.
    `reread` gives the settings of now, for `reload`.

    Raises:
        ConfigurationError: a setting is impossible, the installed ibapi is unusable, or the data directory is taken.
        Fenced: a newer sidecar publishes for this gateway.
    """
    check_ibapi()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedRedis(configs.embedded(settings)))
        if not settings.redis_address:
            log.info("redis_embedded kind=%s port=%d", server.kind, server.port)
        if settings.http_enabled:
            # Before the sidecar: a port that is taken ends the process at once, and /health answers from the start.
            await stack.enter_async_context(http_beside(settings, server.own_url))
        sidecar = Sidecar(settings, redis_url=server.own_url, clock=clock, reread=reread)
        await sidecar.serve(stopping, started)


@asynccontextmanager
async def http_beside(settings: Settings, redis_url: str) -> AsyncIterator[str]:
    """The HTTP service in this process; gives its address. Raises: ConfigurationError when the port is taken."""
    # Only here: a sidecar without it need not load a web server.
    from ibkr_actor.http.serve import beside

    async with beside(configs.http(settings), redis_url) as address:
        yield address


class Sidecar:
    """The parts of one running sidecar."""

    def __init__(
        self,
        settings: Settings,
        *,
        redis_url: str,
        clock: Clock = system_clock,
        reread: Callable[[], Settings] | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock
        # The border to IB: frames come out of the inbox, requests go into the gateway.
        self.inbox = Inbox(settings.inbox_max_bytes)
        recording = configs.recorder(settings)
        recorder = None if recording is None else Recorder(recording, library=check_ibapi())
        self.gateway = Gateway(configs.gateway(settings), self.inbox, recorder, now_ns=clock.now_ns)
        # One core for each actor, and the mailbox in front of it.
        self.mailboxes = {name: Mailbox(name, waiting_max=settings.mailbox_max) for name in ACTORS}
        self.session = SessionCore(configs.session(settings, clock.speed), random.Random())
        subscriptions = SubscriptionsCore(configs.subscriptions(settings, clock.speed))
        pacing = PacingCore(configs.pacing(settings, clock.speed))
        self.cores: dict[ActorName, Core] = {
            "session": self.session,
            "contracts": ContractsCore(configs.contracts(settings, clock.speed)),
            "reference": ReferenceCore(configs.reference(settings, clock.speed)),
            "subscriptions": subscriptions,
            "history": HistoryCore(configs.history(settings, clock.speed)),
            "pacing": pacing,
        }
        # The border to Redis: records and replies go in, commands and what was stored come out by `_deliver`.
        figures = Figures(
            session=self.session,
            subscriptions=subscriptions,
            pacing=pacing,
            gateway=self.gateway,
            bus=lambda: self.bus,
            mailboxes=self.mailboxes,
            clock=clock,
        )
        self.bus = Bus(configs.bus(settings, redis_url), describe=self._describe, figures=figures)
        self.bus.on_word = self.mailboxes["history"].tell
        self.bus.on_job_written = lambda job, number: self.mailboxes["history"].tell(JobWritten(job, number))
        self._reloading = Reloading(
            settings, reread, lambda to, message: self.mailboxes[to].tell(message), speed=clock.speed
        )
        self._session_over = anyio.Event()
        self._published = False  # true once there is an epoch to publish under

    async def serve(self, stopping: anyio.Event, started: Callable[[Sidecar], None] | None = None) -> None:
        """Starts what is above, in the order in which data flows, and ends it in the same order."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_early, stopping, tasks)
            restored = await self.bus.start()
            self._published = True
            tasks.start_soon(self.bus.run, self._deliver)
            self._start_actors(tasks)
            for message in restored:
                await self._deliver(message)
            self.mailboxes["session"].tell(Start())
            if started is not None:
                started(self)
            await stopping.wait()
            await self._wind_down()
            tasks.cancel_scope.cancel()

    async def _end_early(self, stopping: anyio.Event, tasks: TaskGroup) -> None:
        """Before Redis was there, nothing was published and nothing is to be wound down."""
        await stopping.wait()
        if not self._published:
            tasks.cancel_scope.cancel()

    def _start_actors(self, tasks: TaskGroup) -> None:
        stopped, reload = self._session_over.set, self._reload
        performer = Performer(self.gateway, self.bus, self.mailboxes, stopped=stopped, reload=reload)
        for name, core in self.cores.items():
            actor = Actor(self.mailboxes[name], core, performer.perform, clock=self._clock, speed=self._clock.speed)
            tasks.start_soon(actor.run, name=f"actor {name}")
        tasks.start_soon(self._pump, Router(self.mailboxes))

    async def _pump(self, router: Router) -> None:
        """From the inbox to the mailboxes: all the data there is passes here, burst by burst."""
        heard_ns = 0
        while True:
            events: list[Event] = []
            for item in await self.inbox.get():
                if isinstance(item, FrameBatch):
                    events += self.gateway.decode(item)
                    if item.received_ns - heard_ns >= HEARD_EVERY_NS:
                        heard_ns = item.received_ns
                        events.append(Heard(item.conn))
                else:
                    events.append(item)
            await router.deliver(events)

    async def _deliver(self, message: FromBus) -> None:
        """What the bus read, to the actors it is for; waits while a mailbox is full."""
        for to in FROM_BUS[type(message)]:
            await self.mailboxes[to].put(message)

    async def _wind_down(self) -> None:
        """Gives back the lines, closes the connection, and writes what is pending, all within `drain_s`."""
        log.info("sidecar_stopping: lines are given back, the connection is closed, what is pending is written")
        with anyio.move_on_after(self.settings.drain_s):
            self.mailboxes["contracts"].tell(Stop())
            self.mailboxes["reference"].tell(Stop())
            self.mailboxes["history"].tell(Stop())
            self.mailboxes["subscriptions"].tell(Stop())
            await self._session_over.wait()
            if await self.bus.drain(self.settings.drain_s):
                log.info("sidecar_stopped: everything is written")
                await self.gateway.aclose()
                return
        drain_s, redis = self.settings.drain_s, self.bus.state
        log.warning("sidecar_stopped_unwritten drain_s=%g redis=%s reason=%r", drain_s, redis.state, redis.reason)
        await self.gateway.aclose()

    def reload(self) -> Reloaded:
        """Reads the settings anew, applies what may change, and says in `system` what came of it.

        Raises: ConfigurationError when a setting is impossible; then nothing has changed.
        """
        found = self._reloading.reload()
        now_ns = self._clock.now_ns()
        self.bus.announce(System(0, 0, now_ns, "command", "settings_reloaded", "settings", found.sentence))
        return found

    def _reload(self, ref: CommandRef) -> None:
        try:
            found = self.reload()
        except ConfigurationError as error:
            reply = Reply(ref.id, ref.op, "rejected", error=Rejection("configuration_error", str(error)))
        else:
            reply = Reply(ref.id, ref.op, "result", result=to_builtins(found))
        self.bus.answer(ref, reply, (), ())

    def _describe(self) -> str:
        """The word of the heartbeat: how the session is, or the bus when that is worse."""
        bus = self.bus.state.state
        return f"redis_{bus}" if bus in ("down", "degraded") else self.session.state.value
