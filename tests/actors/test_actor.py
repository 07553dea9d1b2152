"""The actor loop, driven with a small core of its own and a clock that the test sets."""

from collections.abc import Iterator

import anyio
import pytest
from msgspec import Struct

from ibkr_actor.actors.actor import TURN_MAX, WAKE_UP, Actor
from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.core.effects import Connect, Disconnect, Effect, Instant
from ibkr_actor.core.events import NextValidId
from ibkr_actor.core.messages import Start, Stop, WakeUp

pytestmark = pytest.mark.anyio


class CountingCore:
    """Answers each message with one effect that names its number; asks to be woken when told to."""

    def __init__(self) -> None:
        self.seen: list[tuple[Struct, Instant]] = []
        self.due_s: float | None = None

    def handle(self, message: Struct, now: Instant) -> list[Effect]:
        self.seen.append((message, now))
        if isinstance(message, WakeUp):
            self.due_s = None
        if isinstance(message, Stop):
            raise RuntimeError("a bug in a core")
        return [Connect(len(self.seen), 1), Disconnect(len(self.seen))]

    def next_wakeup_s(self) -> float | None:
        return self.due_s


def ticking(start_s: float) -> Iterator[Instant]:
    while True:
        yield Instant(start_s, int(start_s * 1e9))
        start_s += 1.0


async def test_every_message_is_handled_in_order_and_its_effects_performed_in_order() -> None:
    core, done = CountingCore(), anyio.Event()
    performed: list[Effect] = []
    total = TURN_MAX * 3 + 7

    def perform(effect: Effect) -> None:
        performed.append(effect)
        if len(performed) == 2 * total:
            done.set()

    clock = ticking(100.0)
    box = Mailbox("session", waiting_max=1000)
    actor = Actor(box, core, perform, clock=lambda: next(clock))
    for number in range(total):
        box.tell(NextValidId(1, number))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.run)
        with anyio.fail_after(60):
            await done.wait()
        tasks.cancel_scope.cancel()
    assert [message for message, _ in core.seen] == [NextValidId(1, number) for number in range(total)]
    assert core.seen[0][1] == Instant(100.0, 100_000_000_000)
    assert performed[:3] == [Connect(1, 1), Disconnect(1), Connect(2, 1)]


async def test_a_core_is_woken_when_its_time_has_come() -> None:
    core, woken = CountingCore(), anyio.Event()
    core.due_s = 50.0  # in the past of the clock below
    box = Mailbox("pacing", waiting_max=1)
    actor = Actor(box, core, lambda effect: woken.set(), clock=lambda: Instant(60.0, 60))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.run)
        with anyio.fail_after(60):
            await woken.wait()
        tasks.cancel_scope.cancel()
    assert core.seen == [(WAKE_UP, Instant(60.0, 60))]


async def test_a_timer_in_the_future_does_not_hold_back_a_message() -> None:
    core, handled = CountingCore(), anyio.Event()
    core.due_s = 10_000.0
    box = Mailbox("pacing", waiting_max=1)
    actor = Actor(box, core, lambda effect: handled.set(), clock=lambda: Instant(60.0, 60))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.run)
        await box.put(Start())
        with anyio.fail_after(60):
            await handled.wait()
        tasks.cancel_scope.cancel()
    assert [message for message, _ in core.seen] == [Start()]


async def test_a_bug_in_a_core_ends_the_loop_instead_of_being_logged_away() -> None:
    box = Mailbox("session", waiting_max=1)
    actor = Actor(box, CountingCore(), lambda effect: None)
    box.tell(Stop())
    with pytest.raises(RuntimeError, match="a bug in a core"):
        with anyio.fail_after(60):
            await actor.run()
