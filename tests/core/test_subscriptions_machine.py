"""Random lives of the subscriptions core, with what must hold after every step."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import Struct

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import (
    Answer,
    CloseStream,
    Effect,
    HolderWrite,
    Notify,
    Publish,
    SetState,
    Tell,
    WriteHolders,
)
from ibkr_actor.core.events import (
    DepthUpdate,
    MarketDataEvent,
    MarketDataType,
    Rerouted,
    TickByTickLast,
    TickPrice,
    TickSize,
    TickString,
)
from ibkr_actor.core.holders import PRIORITIES
from ibkr_actor.core.messages import (
    CommandsReadable,
    DataLost,
    Enqueue,
    RequestEnded,
    RequestRefused,
    RestoreHolders,
    UpstreamDown,
    UpstreamUp,
    Withdraw,
)
from ibkr_actor.core.requests import ReqMktData, ReqMktDepth, ReqTickByTick
from ibkr_actor.schema.commands import PriorityName, Renew, Unsubscribe
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import DataRecord, End, Gap
from tests.core.desk import Desk
from tests.core.kit import at, ns, stock

CONFIG = SubscriptionsConfig(lines=3, depth_lines=2, depth_rows=2, probe_s=20.0, prove_s=5.0, lease_max_s=100.0)
CODES = [
    100, 101, 102, 200, 300, 309, 316, 317, 321, 322, 354, 504, 510, 2104, 10089, 10167, 10190, 10197, 10225, 98765,
]  # fmt: skip

Asked = ReqMktData | ReqTickByTick | ReqMktDepth
# Where IB may send a request to.
UNDERLYING = 77


class Life(RuleBasedStateMachine):
    """Commands, data, errors, losses and time in any order; a model of what was said outside."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(CONFIG, up=False)
        self.is_up = False
        self.now_s = 0.0
        self.command_ids = 0
        # What Redis holds: field -> value; and what readers saw: streams begun and not ended.
        self.stored: dict[str, bytes] = {}
        self.open: set[Stream] = set()
        self.ended: set[Stream] = set()
        self.requests: dict[int, Asked] = {}
        self.all_requests: dict[int, Asked] = {}
        self.accepted: set[tuple[str, str]] = set()

    # ---- what the outside world makes of the effects

    def take(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            match effect:
                case Answer(ref, reply, holders):
                    self.store(holders)
                    if reply.status == "accepted":
                        self.accepted.add((ref.client, ref.id))
                case WriteHolders(holders):
                    self.store(holders)
                case SetState(stream, state):
                    assert state in ("pending", "live", "starved", "ended")
                    if state != "ended":
                        self.open.add(stream)
                case CloseStream(stream):
                    assert stream in self.ended, "a stream closed without an end"
                    self.ended.discard(stream)
                case Notify(client, reply):
                    assert (client, reply.id) in self.accepted, "a later reply to what was never accepted"
                case Publish(items):
                    self.read(items)
                case Tell(_, message):
                    self.pace(message)
        assert not self.ended
        return effects

    def read(self, items: list[tuple[Stream, DataRecord]]) -> None:
        for stream, record in items:
            assert stream in self.open, "a record in a stream that is closed"
            if isinstance(record, End):
                self.open.discard(stream)
                self.ended.add(stream)
            elif isinstance(record, Gap):
                assert record.from_ns is not None
                assert record.to_ns is not None
                assert record.from_ns <= record.to_ns

    def pace(self, message: Struct) -> None:
        """What pacing would hold after it."""
        if isinstance(message, Enqueue):
            request = message.request
            assert self.is_up, "a request without a session"
            assert isinstance(request, ReqMktData | ReqTickByTick | ReqMktDepth)
            assert request.req_id not in self.all_requests, "a req_id used twice"
            self.requests[request.req_id] = self.all_requests[request.req_id] = request
            self.budget_is_kept()
        elif isinstance(message, Withdraw | RequestEnded):
            self.requests.pop(message.req_id, None)

    def budget_is_kept(self) -> None:
        level1 = [request for request in self.requests.values() if isinstance(request, ReqMktData)]
        assert len(level1) <= CONFIG.lines
        books = [request for request in self.requests.values() if isinstance(request, ReqMktDepth)]
        assert len(books) <= CONFIG.depth_lines
        assert len(self.requests) - len(level1) - len(books) <= 1

    def store(self, writes: tuple[HolderWrite, ...]) -> None:
        for write in writes:
            if write.value is None:
                self.stored.pop(write.field, None)
            else:
                self.stored[write.field] = write.value

    # ---- what may happen

    @rule(
        client=st.sampled_from("ab"),
        con_id=st.integers(1, 4),
        kinds=st.sampled_from([["quote"], ["tick"], ["quote", "tick"], ["trade"], ["quote", "trade"], ["depth"]]),
        lease_s=st.sampled_from([0.0, 10.0, 1000.0]),
        ticks=st.sampled_from([[], [], [233], [100]]),
        priority=st.sampled_from(PRIORITIES),
    )
    def subscribe(
        self, client: str, con_id: int, kinds: list[str], lease_s: float, ticks: list[int], priority: PriorityName
    ) -> None:
        self.command_ids += 1
        if kinds in (["trade"], ["depth"]):
            ticks = []
        self.take(
            self.desk.subscribe(
                *kinds,
                s=self.now_s,
                id=str(self.command_ids),
                client=client,
                contract=stock(f"S{con_id}", con_id),
                lease_s=lease_s,
                ticks=ticks,
                priority=priority,
            )
        )

    @rule(
        client=st.sampled_from("ab"),
        con_id=st.integers(1, 4),
        kinds=st.sampled_from([[], ["quote"], ["trade"], ["depth"]]),
    )
    def unsubscribe(self, client: str, con_id: int, kinds: list[str]) -> None:
        self.take(self.desk.unsubscribe(*kinds, s=self.now_s, client=client, contract=stock(f"S{con_id}", con_id)))

    @rule(client=st.sampled_from("ab"))
    def leave(self, client: str) -> None:
        self.take(self.desk.send(Unsubscribe(), self.now_s, client=client))
        assert not [field for field in self.stored if field.endswith(f":{client}")]

    @rule(client=st.sampled_from("ab"))
    def renew(self, client: str) -> None:
        self.take(self.desk.send(Renew(), self.now_s, client=client))

    @rule()
    def commands_readable(self) -> None:
        self.take(self.desk.core.handle(CommandsReadable(), at(self.now_s)))

    @rule(passed_s=st.sampled_from([0.5, 3.0, 12.0, 30.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        for _ in range(100):
            due_s = self.desk.core.next_wakeup_s()
            if due_s is None or due_s > self.now_s:
                return
            self.take(self.desk.wake(self.now_s))
        raise AssertionError("it never rests")

    @precondition(lambda self: not self.is_up)
    @rule()
    def connection_comes(self) -> None:
        self.is_up = True
        self.take(self.desk.up(self.now_s))

    @precondition(lambda self: self.is_up)
    @rule()
    def connection_goes(self) -> None:
        self.is_up = False
        self.requests.clear()
        self.take(self.desk.down(self.now_s))

    @precondition(lambda self: self.is_up)
    @rule()
    def data_lost(self) -> None:
        self.take(self.desk.note(self.desk.core.handle(DataLost(ns(self.now_s), 1101), at(self.now_s))))

    @precondition(lambda self: self.is_up)
    @rule()
    def upstream_flaps(self) -> None:
        self.take(self.desk.core.handle(UpstreamDown(ns(self.now_s), 1100), at(self.now_s)))
        self.take(self.desk.core.handle(UpstreamUp(ns(self.now_s), 1102), at(self.now_s)))

    @precondition(lambda self: self.all_requests)
    @rule(data=st.data(), past=st.booleans())
    def ticks_come(self, data: st.DataObject, past: bool) -> None:
        known = self.all_requests if past or not self.requests else self.requests
        events: list[MarketDataEvent] = []
        for req_id in data.draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=4)):
            if isinstance(known[req_id], ReqTickByTick):
                events.append(TickByTickLast(req_id, ns(self.now_s), False, 1, 1.5, "1", False, False, "X", ""))
            elif isinstance(known[req_id], ReqMktDepth):
                # Sometimes a row that does not fit.
                places = data.draw(st.lists(st.integers(0, 2), max_size=3))
                events += [DepthUpdate(req_id, ns(self.now_s), place, 0, 1, 1.5, "1", None, False) for place in places]
            else:
                events += [
                    MarketDataType(req_id, ns(self.now_s), 1),
                    TickPrice(req_id, ns(self.now_s), 1, 1.5, "1", 0),
                    TickSize(req_id, ns(self.now_s), 8, "1"),
                    TickString(req_id, ns(self.now_s), 45, "1"),
                ]
        self.take(self.desk.data(*events, s=self.now_s))

    @precondition(lambda self: self.all_requests)
    @rule(data=st.data(), code=st.sampled_from(CODES))
    def ib_says(self, data: st.DataObject, code: int) -> None:
        req_id = data.draw(st.sampled_from(sorted(self.requests or self.all_requests)))
        self.take(self.desk.error(req_id, code, self.now_s))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def ib_reroutes(self, data: st.DataObject) -> None:
        req_id = data.draw(st.sampled_from(sorted(self.requests)))
        self.take(self.desk.data(Rerouted(req_id, ns(self.now_s), UNDERLYING, "SMART"), s=self.now_s))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def pacing_refuses(self, data: st.DataObject) -> None:
        req_id = data.draw(st.sampled_from(sorted(self.requests)))
        self.requests.pop(req_id)
        self.take(self.desk.note(self.desk.core.handle(RequestRefused(req_id, "full", 3.0), at(self.now_s))))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def pacing_sends(self, data: st.DataObject) -> None:
        self.desk.sent(data.draw(st.sampled_from(sorted(self.requests))), self.now_s)

    @rule()
    def restart(self) -> None:
        """The process is killed; the next one finds what Redis holds."""
        before = dict(self.stored)
        writes = tuple(HolderWrite(field, value) for field, value in self.stored.items())
        self.desk = Desk(CONFIG, up=False)
        self.is_up = False
        self.requests, self.all_requests = {}, {}
        self.take(self.desk.core.handle(RestoreHolders(writes), at(self.now_s)))
        assert self.stored == before

    # ---- what must hold

    @invariant()
    def a_stream_is_open_exactly_as_long_as_it_has_holders(self) -> None:
        assert self.open == {Stream(*field.split(":")[:2]) for field in self.stored}

    @invariant()
    def ib_is_asked_for_nothing_that_nobody_holds(self) -> None:
        held = {(field.split(":")[0], field.split(":")[1]) for field in self.stored}
        for request in self.requests.values():
            kinds = ("trade",) if isinstance(request, ReqTickByTick) else ("quote", "tick")
            if isinstance(request, ReqMktDepth):
                kinds = ("depth",)
            if request.contract.con_id == UNDERLYING:
                continue
            assert any((kind, request.contract.instrument) in held for kind in kinds), request

    @invariant()
    def what_the_core_says_of_itself_is_what_was_said_outside(self) -> None:
        status = self.desk.core.status()
        assert status["holders"] == len(self.stored)
        assert status["streams"] == len(self.open)

    @invariant()
    def whoever_is_up_and_held_is_asked_for_or_has_a_time(self) -> None:
        """Nothing is forgotten: a held line is at IB, or waits for a set time, a slot or the connection."""
        book = self.desk.core._book
        for line in book.lines.values():
            waits = (line.key, "again") in book.timers or not line.slotted or book.conn is None
            assert line.req_id is not None or line.candidate is not None or waits, line.key


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=20, stateful_step_count=25)
