"""The four cores wired by their own messages, without an actor: the walks of docs/ARCHITECTURE.md from end to end."""

from __future__ import annotations

import random
from collections import deque

from msgspec import Struct

from ibkr_actor.core.config import (
    ContractsConfig,
    HistoryConfig,
    PacingConfig,
    ReferenceConfig,
    SessionConfig,
    SubscriptionsConfig,
)
from ibkr_actor.core.contracts.core import ContractsCore
from ibkr_actor.core.effects import (
    ActorName,
    Answer,
    Connect,
    Core,
    Disconnect,
    Effect,
    HolderWrite,
    Notify,
    Publish,
    Send,
    Stopped,
    Tell,
    WriteContract,
)
from ibkr_actor.core.events import (
    Connected,
    ConnectionLost,
    ContractDetails,
    ContractDetailsEnd,
    CurrentTime,
    ErrorNotice,
    NextValidId,
    TickPrice,
    owner_of,
)
from ibkr_actor.core.history.core import HistoryCore
from ibkr_actor.core.messages import (
    CommandReceived,
    MarketData,
    RestoreContracts,
    RestoreHolders,
    Start,
    Stop,
    WakeUp,
)
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.reference.core import ReferenceCore
from ibkr_actor.core.requests import CancelMktData, ReqContractDetails, ReqCurrentTime, ReqMktData
from ibkr_actor.core.session.core import SessionCore
from ibkr_actor.core.subscriptions.core import SubscriptionsCore
from ibkr_actor.schema.commands import AnyCommand, StatusCommand, Subscribe
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import DataRecord, Gap, Quote
from tests.core.kit import at, ns, ref


class House:
    """Cores, a gateway that answers at once, and what came out."""

    def __init__(self) -> None:
        self.cores: dict[ActorName, Core] = {
            "session": SessionCore(SessionConfig(), random.Random(1)),
            "contracts": ContractsCore(ContractsConfig()),
            "subscriptions": SubscriptionsCore(SubscriptionsConfig()),
            "reference": ReferenceCore(ReferenceConfig()),
            "history": HistoryCore(HistoryConfig()),
            "pacing": PacingCore(PacingConfig()),
        }
        self.now_s = 0.0
        self.queue: deque[tuple[ActorName, Struct]] = deque()
        self.out: list[Effect] = []
        self.conn = 0
        self.lines: dict[int, ReqMktData] = {}
        self.answers_beats = True

    def tell(self, to: ActorName, message: Struct) -> None:
        self.queue.append((to, message))
        while self.queue:
            name, next_message = self.queue.popleft()
            for effect in self.cores[name].handle(next_message, at(self.now_s)):
                self.perform(effect)

    def perform(self, effect: Effect) -> None:
        self.out.append(effect)
        match effect:
            case Tell(to, message):
                self.queue.append((to, message))
            case Connect(conn):
                self.conn = conn
                self.queue.append(("session", Connected(conn, ns(self.now_s), 200, "now")))
                self.queue.append(("session", NextValidId(conn, 1)))
            case Disconnect(conn):
                self.lines.clear()
                self.queue.append(("session", ConnectionLost(conn, ns(self.now_s), "closed", wanted=True)))
            case Send(request):
                self.gateway(request)

    def gateway(self, request: object) -> None:
        match request:
            case ReqContractDetails(req_id, query):
                if query.symbol == "NOPE":
                    notice = ErrorNotice(self.conn, ns(self.now_s), req_id, 200, "No security definition")
                    self.queue.append((owner_of(req_id), notice))
                    return
                found = Contract(sum(query.symbol.encode()), query.symbol, "STK", "SMART", "USD")
                self.queue.append(("contracts", ContractDetails(req_id, found)))
                self.queue.append(("contracts", ContractDetailsEnd(req_id)))
            case ReqMktData(req_id):
                assert req_id not in self.lines
                self.lines[req_id] = request
            case CancelMktData(req_id):
                del self.lines[req_id]
            case ReqCurrentTime() if self.answers_beats:
                self.queue.append(("session", CurrentTime(self.conn, ns(self.now_s), ns(self.now_s))))

    def run_to(self, s: float) -> None:
        """Wakes whichever core is due next, until `s`."""
        for _ in range(10_000):
            due = [(due_s, name) for name, core in self.cores.items() if (due_s := core.next_wakeup_s()) is not None]
            if not due or min(due)[0] > s:
                self.now_s = s
                return
            self.now_s, name = max(min(due)[0], self.now_s), min(due)[1]
            self.tell(name, WakeUp())
        raise AssertionError("the cores never rest")

    def command(self, command: AnyCommand, id: str = "1") -> None:
        op = str(type(command).__struct_config__.tag)
        self.tell("contracts", CommandReceived(ref(id, "c", op), command))

    def tick(self) -> None:
        events = [TickPrice(req_id, ns(self.now_s), 1, 1.5, "1", 0) for req_id in self.lines]
        self.tell("subscriptions", MarketData(list(events)))

    def took(self) -> list[Effect]:
        out, self.out = self.out, []
        return out


def statuses(effects: list[Effect]) -> list[tuple[str, str]]:
    return [(effect.reply.id, effect.reply.status) for effect in effects if isinstance(effect, Answer | Notify)]


def records(effects: list[Effect]) -> list[DataRecord]:
    return [record for effect in effects if isinstance(effect, Publish) for _, record in effect.items]


def test_a_command_becomes_a_line_and_its_data_a_record() -> None:
    house = House()
    house.tell("session", Start())
    house.command(Subscribe(instrument="AAPL", kinds=["quote"], lease_s=0.0))
    assert statuses(house.took()) == [("1", "accepted")]
    house.tick()
    effects = house.took()
    assert [type(record) for record in records(effects)] == [Quote]
    assert statuses(effects) == [("1", "active")]


def test_a_command_before_there_is_a_gateway_is_answered_when_it_comes() -> None:
    house = House()
    house.command(Subscribe(instrument="AAPL", kinds=["quote"], lease_s=0.0))
    house.command(Subscribe(instrument="NOPE", kinds=["quote"]), "2")
    assert statuses(house.took()) == []
    house.tell("session", Start())
    assert sorted(statuses(house.took())) == [("1", "accepted"), ("2", "rejected")]


def test_a_dropped_socket_recovers_and_is_announced_by_a_gap_in_every_stream() -> None:
    house = House()
    house.tell("session", Start())
    for n in range(60):
        house.command(Subscribe(instrument=f"S{n}", kinds=["quote"], lease_s=0.0), str(n))
    house.run_to(5)
    house.tick()
    house.took()
    house.lines.clear()
    house.tell("session", ConnectionLost(house.conn, ns(5), "reset"))
    house.run_to(10)
    house.tick()
    found = records(house.took())
    assert len(house.lines) == 60
    assert [type(record) for record in found] == [Gap, Quote] * 60
    assert {(record.from_ns, record.to_ns) for record in found if isinstance(record, Gap)} == {(ns(5), ns(10))}


def test_a_silent_gateway_is_left_and_found_again() -> None:
    house = House()
    house.tell("session", Start())
    house.command(Subscribe(instrument="AAPL", kinds=["quote"], lease_s=0.0))
    house.answers_beats = False
    house.run_to(31)
    assert house.conn == 2
    assert len(house.lines) == 1


def test_a_status_passes_through_all_six() -> None:
    house = House()
    house.tell("session", Start())
    house.command(StatusCommand())
    (answered,) = [effect for effect in house.took() if isinstance(effect, Answer)]
    assert isinstance(answered.reply.result, dict)
    assert list(answered.reply.result) == [
        "contracts", "reference", "subscriptions", "history", "pacing", "session", "ready",
    ]  # fmt: skip
    assert answered.with_counters


def test_a_restart_restores_what_was_held_without_asking_for_contracts() -> None:
    house = House()
    house.tell("session", Start())
    house.command(Subscribe(instrument="AAPL", kinds=["quote"], lease_s=0.0))
    effects = house.took()
    fields = {e.field: e.value for e in effects if isinstance(e, WriteContract) and e.value is not None}
    holders: list[HolderWrite] = [write for e in effects if isinstance(e, Answer) for write in e.holders]
    again = House()
    again.tell("contracts", RestoreContracts(fields))
    again.tell("subscriptions", RestoreHolders(tuple(holders)))
    again.tell("session", Start())
    sends = [effect.request for effect in again.took() if isinstance(effect, Send)]
    assert [type(request) for request in sends] == [ReqMktData]
    again.tick()
    assert [type(record) for record in records(again.took())] == [Quote]


def test_a_stop_gives_back_the_lines_before_it_closes_the_connection() -> None:
    house = House()
    house.tell("session", Start())
    for n in range(3):
        house.command(Subscribe(instrument=f"S{n}", kinds=["quote"], lease_s=0.0), str(n))
    house.took()
    house.tell("contracts", Stop())
    house.tell("subscriptions", Stop())
    effects = [e for e in house.took() if isinstance(e, Send | Disconnect | Stopped)]
    assert [type(effect) for effect in effects] == [Send, Send, Send, Disconnect, Stopped]
    assert not house.lines
