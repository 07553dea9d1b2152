"""Every effect goes where it belongs; the ports here only remember what they were given."""

from collections.abc import Sequence

import pytest

from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.actors.perform import Performer
from ibkr_actor.core import effects as fx
from ibkr_actor.core.messages import Start
from ibkr_actor.core.requests import AnyRequest, CancelMktData
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import DataRecord, MidPoint, System

REF = fx.CommandRef("ibkr:{g1}:commands", "5-0", "strat-1", "c1", "status")
STREAM = Stream("midpoint", "EUR.CASH.IDEALPRO.USD")
RECORD = MidPoint(0, 0, 12, 1_000, None, 1, 0, 1.1)
SYSTEM = System(0, 0, 1_000, "connection", "ready", "g1", "The gateway is ready.")


class RememberingGateway:
    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []

    def open(self, conn: int, client_id: int, port: int | None = None) -> None:
        self.done.append(("open", conn, client_id, port))

    def close(self, conn: int) -> None:
        self.done.append(("close", conn))

    def send(self, request: AnyRequest) -> None:
        self.done.append(("send", request))

    def counters(self) -> dict[str, int | float | str | None]:
        return {"sent": 3}


class RememberingBus:
    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []

    def publish(self, items: Sequence[tuple[Stream, DataRecord]]) -> None:
        self.done.append(("publish", items))

    def announce(self, record: System) -> None:
        self.done.append(("announce", record))

    def set_state(self, stream: Stream, state: str, reason: str, since_ns: int) -> None:
        self.done.append(("set_state", stream, state, reason, since_ns))

    def set_freshness(self, stream: Stream, freshness: str, since_ns: int, received_ns: int) -> None:
        self.done.append(("set_freshness", stream, freshness, since_ns, received_ns))

    def close_stream(self, stream: Stream) -> None:
        self.done.append(("close_stream", stream))

    def answer(
        self,
        ref: fx.CommandRef,
        reply: Reply,
        holders: tuple[fx.HolderWrite, ...],
        jobs: tuple[fx.HolderWrite, ...],
    ) -> None:
        self.done.append(("answer", ref, reply, holders, jobs))

    def write_job(self, job: str, entries: Sequence[DataRecord], number: int, state: bytes | None) -> None:
        self.done.append(("write_job", job, entries, number, state))

    def look_up_window(self, name: str) -> None:
        self.done.append(("look_up_window", name))

    def store_window(self, name: str, value: bytes) -> None:
        self.done.append(("store_window", name, value))

    def write_pacing(self, value: bytes) -> None:
        self.done.append(("write_pacing", value))

    def notify(self, client: str, reply: Reply) -> None:
        self.done.append(("notify", client, reply))

    def write_holders(self, holders: tuple[fx.HolderWrite, ...]) -> None:
        self.done.append(("write_holders", holders))

    def write_contracts(self, writes: tuple[fx.HolderWrite, ...]) -> None:
        self.done.append(("write_contracts", writes))

    def counters(self) -> dict[str, int | float | str | None]:
        return {"written": 7}


HOLDERS = (fx.HolderWrite("quote:AAPL.STK.SMART.USD:strat-1", b"{}"),)
REPLY = Reply("c1", "subscribe", "active")


@pytest.mark.parametrize(
    ("effect", "done"),
    [
        (fx.Publish([(STREAM, RECORD)]), ("publish", [(STREAM, RECORD)])),
        (fx.Announce(SYSTEM), ("announce", SYSTEM)),
        (fx.SetState(STREAM, "active", "", 5), ("set_state", STREAM, "active", "", 5)),
        (fx.SetFreshness(STREAM, "stale", 5, 4), ("set_freshness", STREAM, "stale", 5, 4)),
        (fx.CloseStream(STREAM), ("close_stream", STREAM)),
        (fx.Answer(REF, REPLY, HOLDERS), ("answer", REF, REPLY, HOLDERS, ())),
        (fx.Answer(REF, REPLY, jobs=HOLDERS), ("answer", REF, REPLY, (), HOLDERS)),
        (fx.WriteJob("j1", (RECORD,), 4, b"{}"), ("write_job", "j1", (RECORD,), 4, b"{}")),
        (fx.LookUpWindow("w"), ("look_up_window", "w")),
        (fx.StoreWindow("w", b"bars"), ("store_window", "w", b"bars")),
        (fx.WritePacing(b"w"), ("write_pacing", b"w")),
        (fx.Notify("strat-1", REPLY), ("notify", "strat-1", REPLY)),
        (fx.WriteHolders(HOLDERS), ("write_holders", HOLDERS)),
        (fx.WriteContract("claim:x", b"1"), ("write_contracts", (fx.HolderWrite("claim:x", b"1"),))),
        (fx.WriteContracts(HOLDERS), ("write_contracts", HOLDERS)),
    ],
)
def test_what_is_for_redis_reaches_the_bus(effect: fx.Effect, done: tuple[object, ...]) -> None:
    bus = RememberingBus()
    Performer(RememberingGateway(), bus, {}, stopped=lambda: None).perform(effect)
    assert bus.done == [done]


@pytest.mark.parametrize(
    ("effect", "done"),
    [
        (fx.Connect(2, 17), ("open", 2, 17, None)),
        (fx.Connect(3, 17, 7498), ("open", 3, 17, 7498)),
        (fx.Disconnect(2), ("close", 2)),
        (fx.Send(CancelMktData(12)), ("send", CancelMktData(12))),
    ],
)
def test_what_is_for_ib_reaches_the_gateway(effect: fx.Effect, done: tuple[object, ...]) -> None:
    gateway = RememberingGateway()
    Performer(gateway, RememberingBus(), {}, stopped=lambda: None).perform(effect)
    assert gateway.done == [done]


def test_a_status_gets_the_counters_of_both_ports_and_the_mailboxes() -> None:
    bus = RememberingBus()
    performer = Performer(RememberingGateway(), bus, {}, stopped=lambda: None)
    performer.perform(fx.Answer(REF, Reply("c1", "status", "result", result={"session": 1}), with_counters=True))
    (_, _, reply, _, _) = bus.done[0]
    assert isinstance(reply, Reply)
    assert reply.result == {
        "session": 1,
        "counters": {"gateway": {"sent": 3}, "redis": {"written": 7}, "mailboxes": {}},
    }


@pytest.mark.anyio
async def test_a_tell_lands_in_the_other_actors_mailbox_and_the_end_is_told() -> None:
    over: list[bool] = []
    box = Mailbox("pacing", waiting_max=1)
    performer = Performer(RememberingGateway(), RememberingBus(), {"pacing": box}, stopped=lambda: over.append(True))
    performer.perform(fx.Tell("pacing", Start()))
    assert box.take_nowait() == Start()
    performer.perform(fx.Stopped())
    assert over == [True]


def test_what_is_no_effect_is_refused() -> None:
    class Stray(fx.Effect, frozen=True):
        pass

    with pytest.raises(TypeError, match="Stray"):
        Performer(RememberingGateway(), RememberingBus(), {}, stopped=lambda: None).perform(Stray())
