"""The mailbox: order, back-pressure for outside senders, no waiting between actors."""

import anyio
import anyio.lowlevel
import pytest

from ibkr_actor.actors.mailbox import TELLS_MAX, Mailbox, MailboxOverflow
from ibkr_actor.core.messages import Start, Stop, WakeUp

pytestmark = pytest.mark.anyio


async def test_messages_come_out_in_the_order_they_went_in() -> None:
    box = Mailbox("session", waiting_max=10)
    await box.put(Start())
    box.tell(WakeUp())
    await box.put(Stop())
    assert [await box.take(), box.take_nowait(), await box.take()] == [Start(), WakeUp(), Stop()]
    with pytest.raises(anyio.WouldBlock):
        box.take_nowait()


async def test_an_outside_sender_waits_while_its_items_are_unhandled_and_an_actor_never_does() -> None:
    box = Mailbox("subscriptions", waiting_max=2)
    await box.put(Start())
    await box.put(Start())
    delivered = anyio.Event()

    async def third() -> None:
        await box.put(Stop())
        delivered.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(third)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert not delivered.is_set()
        box.tell(WakeUp())  # an actor's message goes in all the same
        assert box.take_nowait() == Start()
        with anyio.fail_after(60):
            await delivered.wait()
    assert len(box) == 3


async def test_a_mailbox_that_actors_overfill_says_whose_it_is() -> None:
    box = Mailbox("pacing", waiting_max=1)
    for _ in range(TELLS_MAX + 1):
        box.tell(WakeUp())
    with pytest.raises(MailboxOverflow, match="pacing"):
        box.tell(WakeUp())
