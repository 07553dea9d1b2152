from __future__ import annotations

import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from ibkr_actor.core.events import Connected, ConnectionLost, NextValidId
from ibkr_actor.tws.inbox import FRAME_OVERHEAD_BYTES, ROUNDS_BETWEEN_TURNS, TURN_FRAMES, FrameBatch, Inbox
from tests.tws.wire import DEADLINE_S, batch

pytestmark = pytest.mark.anyio


def up(inbox: Inbox, conn: int = 1) -> None:
    assert inbox.connected(Connected(conn, 0, 178, ""))


def in_thread(target: object, *args: object) -> threading.Thread:
    assert callable(target)
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


class WatchedInbox(Inbox):
    """Says when a reader begins to wait for room."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.waits = threading.Event()

    def _wait_for_room(self, conn: int, size: int) -> None:
        self.waits.set()
        super()._wait_for_room(conn, size)


async def test_items_come_out_all_at_once_and_in_order() -> None:
    inbox = Inbox(1_000_000)
    up(inbox)
    first, second = batch(b"a"), batch(b"b")
    inbox.put_frames(first, 5)
    inbox.put(NextValidId(1, 7))
    inbox.put_frames(second, 5)
    items = await inbox.get()
    assert items[1:] == [first, NextValidId(1, 7), second]
    assert isinstance(items[0], Connected)


async def test_a_long_burst_comes_out_in_turns_with_its_stamp_and_in_order() -> None:
    inbox = Inbox(100_000_000)
    up(inbox)
    frames = [b"%d" % number for number in range(2 * TURN_FRAMES + 7)]
    inbox.put_frames(FrameBatch(1, 11, frames[:3]), 30)
    inbox.put_frames(FrameBatch(1, 12, frames[3:]), 30_000)
    inbox.put(NextValidId(1, 7))
    turns: list[list[FrameBatch]] = []
    waiting = [int(inbox.counters()["inbox_waiting_bytes"] or 0)]
    while len(turns) < 3:
        items = await inbox.get()
        turns.append([item for item in items if isinstance(item, FrameBatch)])
        waiting.append(int(inbox.counters()["inbox_waiting_bytes"] or 0))
    assert [sum(len(item.frames) for item in turn) for turn in turns] == [TURN_FRAMES, TURN_FRAMES, 7]
    assert [frame for turn in turns for item in turn for frame in item.frames] == frames
    assert [item.received_ns for turn in turns for item in turn] == [11, 12, 12, 12]
    # What follows the burst comes after its last frame.
    assert items[-1] == NextValidId(1, 7)
    assert waiting == sorted(waiting, reverse=True)
    assert waiting[-1] == 0


async def test_other_tasks_get_several_rounds_between_the_turns_of_a_burst() -> None:
    inbox = Inbox(100_000_000)
    up(inbox)
    inbox.put_frames(FrameBatch(1, 12, [b"a"] * (2 * TURN_FRAMES)), 1)
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await inbox.get()
        before = rounds
        await inbox.get()
        assert rounds - before >= ROUNDS_BETWEEN_TURNS
        group.cancel_scope.cancel()


async def test_a_burst_of_a_thread_wakes_the_loop_once() -> None:
    inbox = Inbox(1_000_000)
    got: list[object] = []

    def put_many() -> None:
        for number in range(50):
            inbox.put(NextValidId(1, number))

    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as group:

            async def read() -> None:
                got.extend(await inbox.get())

            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            # The loop stands still while the thread puts its burst, as it does while it handles another.
            in_thread(put_many).join(DEADLINE_S)
    assert len(got) == 50
    assert inbox.counters()["inbox_wakeups"] == 1


async def test_a_full_inbox_holds_the_reader_back_and_loses_nothing() -> None:
    size = 4 + 100 + FRAME_OVERHEAD_BYTES
    inbox = WatchedInbox(3 * size)
    up(inbox)
    await inbox.get()
    frames = [bytes([number]) * 100 for number in range(20)]

    def produce() -> None:
        for frame in frames:
            assert inbox.put_frames(batch(frame), 104)

    thread = in_thread(produce)
    assert await anyio.to_thread.run_sync(inbox.waits.wait, DEADLINE_S)
    got: list[bytes] = []
    with anyio.fail_after(DEADLINE_S):
        while len(got) < len(frames):
            for item in await inbox.get():
                assert isinstance(item, FrameBatch)
                got += item.frames
    thread.join(DEADLINE_S)
    assert got == frames
    counters = inbox.counters()
    high = counters["inbox_waiting_bytes_high"]
    assert isinstance(high, int)
    assert high <= 3 * size
    assert counters["inbox_waiting_bytes"] == 0


async def test_a_reader_that_waits_for_room_is_counted_and_wakes_when_its_connection_ends() -> None:
    inbox = WatchedInbox(100)
    up(inbox)
    inbox.put_frames(batch(b"x" * 100), 104)
    answers: list[bool] = []
    thread = in_thread(lambda: answers.append(inbox.put_frames(batch(b"y"), 5)))
    assert await anyio.to_thread.run_sync(inbox.waits.wait, DEADLINE_S)
    assert inbox.counters()["inbox_stalls"] == 1
    inbox.lost(ConnectionLost(1, 0, "closed by us", wanted=True))
    await anyio.to_thread.run_sync(thread.join, DEADLINE_S)
    assert answers == [False]
    stalled_s = inbox.counters()["inbox_stalled_s"]
    assert isinstance(stalled_s, float)
    assert stalled_s > 0
    assert inbox.counters()["inbox_late_frames"] == 1


async def test_one_batch_larger_than_the_limit_still_passes_through_an_empty_inbox() -> None:
    inbox = Inbox(10)
    up(inbox)
    assert inbox.put_frames(batch(b"x" * 1000), 1004)
    assert isinstance((await inbox.get())[1], FrameBatch)


async def test_a_connection_is_lost_once_and_only_if_it_was_up() -> None:
    inbox = Inbox(1000)
    assert not inbox.lost(ConnectionLost(1, 0, "never up"))
    assert not inbox.connected(Connected(1, 0, 178, ""))
    up(inbox, 2)
    assert inbox.lost(ConnectionLost(2, 0, "first"))
    assert not inbox.lost(ConnectionLost(2, 0, "second"))
    assert [event.reason for event in await inbox.get() if isinstance(event, ConnectionLost)] == ["first"]


async def test_a_cancelled_get_takes_nothing_with_it() -> None:
    inbox = Inbox(1000)
    inbox.put(NextValidId(1, 1))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await inbox.get()
    assert await inbox.get() == [NextValidId(1, 1)]


async def test_a_get_that_always_finds_something_lets_other_tasks_run() -> None:
    inbox = Inbox(1000)
    ran: list[int] = []
    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as group:

            async def other() -> None:
                ran.append(1)

            group.start_soon(other)
            while not ran:
                inbox.put(NextValidId(1, 1))
                await inbox.get()


def test_a_thread_that_outlives_the_loop_ends_in_good_order() -> None:
    inbox = Inbox(1000)

    async def wait_in_vain() -> None:
        with anyio.move_on_after(0.01):
            await inbox.get()

    anyio.run(wait_in_vain)
    inbox.put(NextValidId(1, 1))
    inbox.put(NextValidId(1, 2))
