"""Chains in the subscriptions core: holders, spare lines, refusals, losses; and random lives of all of it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from ibkr_actor.core.chains.messages import ChainFound, ChainNotFound, FindChain
from ibkr_actor.core.chains.turns import TurnsConfig
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Answer, Effect, HolderWrite, Notify, Tell, WriteHolders
from ibkr_actor.core.events import ErrorNotice, MarketDataEvent, TickOptionComputation, TickPrice, TickSize
from ibkr_actor.core.messages import (
    DataLost,
    Enqueue,
    MarketData,
    RedisForgot,
    RequestEnded,
    RequestSent,
    RestoreHolders,
    Stop,
    UpstreamDown,
    UpstreamUp,
    Withdraw,
)
from ibkr_actor.core.requests import ReqMktData
from ibkr_actor.schema.commands import List, Rejection, Renew, Unsubscribe
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import ChainWindow, End, Gap, Option
from ibkr_actor.schema.reference_commands import Chain
from tests.core.desk import Desk
from tests.core.kit import answer, at, notes, ns, only, published, states, stock, told

UNDER = stock()
TURNS = TurnsConfig(waiting_max=20, delay_s=0.0, turn_min_s=1.0, turn_max_s=3.0)
NAME = "AAPL.STK.SMART.USD~nearest~CP~m0.2"
MODEL, BID, ASK = 13, 1, 2


def config(lines: int = 10) -> SubscriptionsConfig:
    return SubscriptionsConfig(lines=lines, chain_lines=8, chain_turns=TURNS, chain_refresh_s=300.0, lease_max_s=1000.0)


def option(strike: int, right: str) -> Contract:
    con_id = 10_000 + 2 * strike + (right == "P")
    name = f"AAPL.OPT.SMART.USD.20261218.{right}.{strike}.AAPL"
    return Contract(
        con_id, "AAPL", "OPT", "SMART", "USD", name, last_trade_date="20261218", strike=float(strike), right=right
    )


LISTED = tuple(option(strike, right) for strike in range(50, 151, 5) for right in "CP")


class Gateway:
    """IB and pacing beside a core: sends what is asked at once, and counts the lines."""

    def __init__(self, desk: Desk, lines: int) -> None:
        self.desk = desk
        self.lines = lines
        self.open: dict[int, ReqMktData] = {}
        self.asked: list[int] = []
        self.new: list[int] = []
        self.wishes: list[FindChain] = []
        self.stored: dict[str, bytes] = {}
        self.effects: list[Effect] = []

    def take(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        for effect in effects:
            match effect:
                case Tell(_, Enqueue(ReqMktData() as request)):
                    self.open[request.req_id] = request
                    self.new.append(request.req_id)
                    self.asked.append(request.contract.con_id)
                    assert len(self.open) <= self.lines, "more lines than there are"
                case Tell(_, Withdraw(req_id) | RequestEnded(req_id)):
                    self.open.pop(req_id, None)
                case Tell("reference", FindChain() as wish):
                    self.wishes.append(wish)
                case Answer(holders=writes) | WriteHolders(writes):
                    self.store(writes)
        return effects

    def store(self, writes: tuple[HolderWrite, ...]) -> None:
        for write in writes:
            if write.value is None:
                self.stored.pop(write.field, None)
            else:
                self.stored[write.field] = write.value

    def answer_new(self, s: float, spot: float = 100.0) -> None:
        """Sends what waits, and first data for it."""
        while self.new:
            new, self.new = self.new, []
            for req_id in new:
                self.desk.core.handle(RequestSent(req_id, s), at(s))
                if req_id in self.open:
                    self.take(self.desk.core.handle(MarketData(self.data(req_id, s, spot)), at(s)))

    def data(self, req_id: int, s: float, spot: float) -> list[MarketDataEvent]:
        contract = self.open[req_id].contract
        price = spot if contract.strike is None else 2.5
        out: list[MarketDataEvent] = [TickPrice(req_id, ns(s), side, price, "1", 0) for side in (BID, ASK)]
        if contract.strike is not None:
            out.append(TickSize(req_id, ns(s), 27 if contract.right == "C" else 28, "77"))
            out.append(TickOptionComputation(req_id, ns(s), MODEL, 0, 0.2, 0.5, 2.4, 0.0, 0.01, 0.1, -0.02, spot))
        return out

    def found(self, s: float) -> None:
        wishes, self.wishes = self.wishes, []
        for wish in wishes:
            self.take(self.desk.core.handle(ChainFound(wish.name, LISTED), at(s)))

    def members(self) -> set[int]:
        return {it.contract.con_id for it in self.open.values() if it.contract.strike is not None}

    def run(self, s: float, until_s: float, spot: float = 100.0) -> float:
        """Time goes on, with everything answered."""
        self.answer_new(s, spot)
        while (next_s := self.desk.core.next_wakeup_s()) is not None and next_s <= until_s:
            s = max(s, next_s)
            self.take(self.desk.wake(s))
            self.answer_new(s, spot)
        return until_s


def begin(lines: int = 10, **more: object) -> tuple[Desk, Gateway]:
    """A desk with an open chain whose members are listed."""
    desk = Desk(config(lines))
    gateway = Gateway(desk, lines)
    command = Chain(instrument=UNDER.instrument, lease_s=0.0, **more)  # type: ignore[arg-type]  # what a test says
    gateway.take(desk.send(command, 0, contract=UNDER))
    gateway.found(0)
    gateway.answer_new(0)
    return desk, gateway


def test_a_chain_is_accepted_with_its_name_and_active_with_its_first_option() -> None:
    desk, gateway = begin()
    (accepted,) = only(Answer, gateway.effects)
    assert accepted.reply.result == {"chain": NAME}
    assert accepted.reply.streams == [f"ibkr:{{g1}}:chain:{NAME}"]
    assert notes(gateway.effects) == [("c", "1", "active", ["chain"])]
    assert [state for _, state, _ in states(gateway.effects)] == ["pending", "live"]
    records = [record for _, record in published(gateway.effects)]
    window = next(record for record in records if isinstance(record, ChainWindow))
    assert (window.spot, window.strikes[0], window.strikes[-1]) == (100.0, 80.0, 120.0)
    assert (window.members, window.lines, window.reason) == (18, 8, "opened")
    shown = next(record for record in records if isinstance(record, Option))
    assert (shown.bid, shown.open_interest, shown.delta, shown.on_line) == (2.5, "77", 0.5, True)
    assert desk.core.status()["chains"] == {"open": 1, "members": 18, "lines": 9}


def test_all_members_have_their_turns_and_the_last_record_of_a_turn_says_so() -> None:
    _, gateway = begin()
    gateway.run(0, 30)
    asked = {con_id for con_id in gateway.asked if con_id != UNDER.con_id}
    assert len(asked) == 18
    # 50 % stay with the nearest: they were asked for once.
    near = [option(100, right).con_id for right in "CP"] + [option(95, right).con_id for right in "CP"]
    assert [gateway.asked.count(con_id) for con_id in near] == [1, 1, 1, 1]
    off = {
        record.con_id for _, record in published(gateway.effects) if isinstance(record, Option) and not record.on_line
    }
    assert off
    assert not off & set(near)


def test_a_subscribe_takes_lines_from_a_chain_and_the_chain_takes_them_back() -> None:
    desk, gateway = begin()
    gateway.run(0, 2)
    assert len(gateway.open) == 9
    for n in range(5):
        taken = gateway.take(desk.subscribe("quote", s=3, id=f"q{n}", client="other", contract=stock(f"S{n}", 500 + n)))
        assert answer(taken).reply.status == "accepted"
    gateway.run(3, 5)
    assert len(gateway.open) == 10
    assert len(gateway.members()) == 4
    gateway.take(desk.send(Unsubscribe(), 6, "9", "other"))
    gateway.run(6, 9)
    assert len(gateway.members()) == 8


def test_more_generic_ticks_and_lines_that_wait_come_before_a_chain() -> None:
    desk, gateway = begin()
    gateway.take(desk.subscribe("tick", s=1, id="q", client="other", contract=stock("S1", 501)))
    gateway.run(1, 2)
    assert len(gateway.open) == 10
    # The union of generic ticks takes a second request until it has data: the first one stays meanwhile.
    first = next(req_id for req_id, it in gateway.open.items() if it.contract.con_id == 501)
    gateway.take(desk.subscribe("tick", s=3, id="r", client="third", contract=stock("S1", 501), ticks=[233]))
    assert first in gateway.open
    assert [it.contract.con_id for it in gateway.open.values()].count(501) == 2
    gateway.run(3, 5)
    assert [it.generic_ticks for it in gateway.open.values() if it.contract.con_id == 501] == [(233,)]


def test_lines_that_others_hold_are_never_a_chains() -> None:
    desk = Desk(config(3))
    gateway = Gateway(desk, 3)
    for n in range(2):
        gateway.take(desk.subscribe("quote", s=0, id=f"q{n}", client="other", contract=stock(f"S{n}", 500 + n)))
    refused = answer(desk.send(Chain(instrument=UNDER.instrument), 1, contract=UNDER)).reply
    assert refused.error is not None
    assert refused.error.code == "line_limit"
    assert "other 2" in refused.error.message


def test_the_price_comes_from_a_line_that_somebody_has_anyway() -> None:
    desk, gateway = begin()
    assert UNDER.con_id in {it.contract.con_id for it in gateway.open.values()}
    gateway.take(desk.subscribe("quote", s=1, id="q", client="other"))
    gateway.answer_new(1, 100.0)
    gateway.run(1, 4)
    assert [it.contract.con_id for it in gateway.open.values()].count(UNDER.con_id) == 1
    gateway.take(desk.unsubscribe(s=5, client="other"))
    gateway.run(5, 8)
    assert [it.contract.con_id for it in gateway.open.values()].count(UNDER.con_id) == 1


def test_the_window_follows_the_price_and_drops_what_it_leaves() -> None:
    desk, gateway = begin()
    spot = next(req_id for req_id, it in gateway.open.items() if it.contract.con_id == UNDER.con_id)
    gateway.effects = []
    gateway.take(desk.price(spot, 1, 101.0))
    gateway.take(desk.price(spot, 1, 101.0, ASK))
    assert not [record for _, record in published(gateway.effects) if isinstance(record, ChainWindow)]
    gateway.take(desk.price(spot, 2, 130.0))
    gateway.take(desk.price(spot, 2, 130.0, ASK))
    gateway.run(2, 12, 130.0)
    windows = [record for _, record in published(gateway.effects) if isinstance(record, ChainWindow)]
    assert windows[-1].reason in ("spot", "lines")
    assert (windows[-1].strikes[0], windows[-1].strikes[-1]) == (105.0, 150.0)
    assert all((it.contract.strike or 105) >= 105 for it in gateway.open.values())


def test_a_window_without_a_strike_says_so_and_comes_alive_when_the_price_moves_into_it() -> None:
    desk, gateway = begin(strike_range=(140.0, 200.0), moneyness_range=0.1)
    gateway.run(0, 2)
    (window,) = [record for _, record in published(gateway.effects) if isinstance(record, ChainWindow)]
    assert (window.reason, window.spot, window.members, window.strikes) == ("empty", 100.0, 0, [])
    assert states(gateway.effects)[-1] == ("chain", "starved", "empty_window")
    (told,) = only(Notify, gateway.effects)
    assert told.reply.status == "progress"
    assert told.reply.note is not None
    assert "AAPL.STK.SMART.USD is at 100: no listed strike of 140 to 200 is within 10 %" in told.reply.note
    # Who asks for the same later hears it at once.
    again = Chain(instrument=UNDER.instrument, lease_s=0.0, strike_range=(140.0, 200.0), moneyness_range=0.1)
    assert answer(desk.send(again, 3, "2", "d", UNDER)).reply.note == told.reply.note
    spot = next(iter(gateway.open))
    gateway.effects = []
    gateway.take(desk.price(spot, 4, 135.0))
    gateway.take(desk.price(spot, 4, 135.0, ASK))
    gateway.run(4, 6, 135.0)
    windows = [record for _, record in published(gateway.effects) if isinstance(record, ChainWindow)]
    assert (windows[-1].strikes, windows[0].reason) == ([140.0, 145.0], "spot")
    assert states(gateway.effects) == [("chain", "pending", ""), ("chain", "live", "")]
    assert notes(gateway.effects) == [("c", "1", "active", ["chain"]), ("d", "2", "active", ["chain"])]


def test_a_chain_without_a_price_of_the_underlying_says_so_after_a_while() -> None:
    desk = Desk(config())
    gateway = Gateway(desk, 10)
    gateway.take(desk.send(Chain(instrument=UNDER.instrument, lease_s=0.0), 0, contract=UNDER))
    gateway.found(0)
    gateway.take(desk.wake(14))
    assert not only(Notify, gateway.effects)
    gateway.take(desk.wake(15))
    (told,) = only(Notify, gateway.effects)
    assert (told.reply.status, told.reply.note) == (
        "progress",
        "there is no price of AAPL.STK.SMART.USD yet; the chain begins when there is one",
    )
    assert states(gateway.effects)[-1] == ("chain", "starved", "no_price")
    gateway.answer_new(20)
    assert states(gateway.effects)[-2:] == [("chain", "pending", ""), ("chain", "live", "")]


def test_a_lost_connection_leaves_a_gap_and_everything_is_asked_again() -> None:
    desk, gateway = begin()
    gateway.run(0, 2)
    gateway.take(desk.down(3))
    assert not gateway.open
    gateway.effects = []
    gateway.take(desk.up(4))
    gateway.answer_new(4)
    records = [record for _, record in published(gateway.effects)]
    assert isinstance(records[0], Gap)
    assert (records[0].cause, records[0].from_ns) == ("disconnect", ns(3))
    assert len(gateway.members()) == 8


def test_a_stop_cancels_what_is_open_and_keeps_the_holders() -> None:
    desk, gateway = begin()
    gateway.run(0, 2)
    taken = set(gateway.open)
    effects = gateway.take(desk.core.handle(Stop(), at(3)))
    assert {withdrawn.req_id for withdrawn in told(effects, Withdraw)} == taken
    assert len(gateway.stored) == 1
    assert states(effects) == [("chain", "starved", "stopped")]


def test_while_ib_is_away_a_chain_says_so_and_goes_on_with_the_next_data() -> None:
    desk, gateway = begin()
    effects = gateway.take(desk.core.handle(UpstreamDown(ns(1), 1100), at(1)))
    assert states(effects) == [("chain", "starved", "upstream")]
    gateway.effects = []
    gateway.take(desk.wake(2))
    assert not [state for state in states(gateway.effects) if state[1] == "pending"]
    effects = gateway.take(desk.core.handle(UpstreamUp(ns(5), 1102), at(5)))
    assert states(effects) == [("chain", "pending", "upstream_restored")]
    member = next(req_id for req_id, it in gateway.open.items() if it.contract.strike == 100.0)
    effects = gateway.take(desk.price(member, 6, 3.5))
    assert [type(record) for _, record in published(effects)] == [Gap, Option]
    assert states(effects) == [("chain", "live", "")]


def test_what_was_held_is_taken_up_by_the_next_process() -> None:
    _, gateway = begin()
    (field,) = gateway.stored
    assert field == f"chain:{NAME}:c"
    desk = Desk(config(), up=False)
    again = Gateway(desk, 10)
    again.take(desk.core.handle(RestoreHolders((HolderWrite(field, gateway.stored[field]),)), at(0)))
    again.take(desk.up(1))
    again.found(1)
    again.answer_new(1)
    assert len(again.members()) == 8
    rows = answer(desk.send(List(), 2, "l")).reply.result
    assert isinstance(rows, dict)
    assert [(row["instrument"], row["kind"], row["holders"][0]["client"]) for row in rows["subscriptions"]] == [
        (NAME, "chain", "c")
    ]


def test_two_who_ask_for_the_same_share_it_and_the_last_one_ends_it() -> None:
    desk, gateway = begin()
    command = Chain(instrument=UNDER.instrument, lease_s=50.0)
    gateway.take(desk.send(command, 1, "2", "d", UNDER))
    gateway.run(1, 2)
    assert len(gateway.open) == 9
    gateway.take(desk.send(Unsubscribe(chain=NAME), 3, "3"))
    assert len(gateway.open) == 9
    gateway.take(desk.send(Renew(), 40, "4", "d"))
    gateway.effects = []
    gateway.run(40, 89)
    assert gateway.open
    gateway.run(89, 91)
    assert not gateway.open
    (ended,) = [record for _, record in published(gateway.effects) if isinstance(record, End)]
    assert ended.reason == "expired"
    assert [note.reply.status for note in only(Notify, gateway.effects)] == ["expired"]
    assert not gateway.stored
    assert desk.core.status()["lines"] == {"taken": 0, "of": 10}


def test_members_that_ib_refuses_are_left_out_and_a_chain_without_any_is_refused() -> None:
    desk, gateway = begin()
    one = next(req_id for req_id, it in gateway.open.items() if it.contract.strike == 100.0)
    gateway.effects = []
    gateway.take(desk.error(one, 200, 1))
    gateway.run(1, 2)
    windows = [record for _, record in published(gateway.effects) if isinstance(record, ChainWindow)]
    assert (windows[-1].members, windows[-1].left_out) == (17, 1)
    # None of a chain may be had: the login has no data of options.
    desk = Desk(config())
    gateway = Gateway(desk, 10)
    gateway.take(desk.send(Chain(instrument=UNDER.instrument, lease_s=0.0), 0, contract=UNDER))
    gateway.found(0)
    for s in range(20):
        for req_id in [req_id for req_id in gateway.new if req_id in gateway.open]:
            gateway.new.remove(req_id)
            if req_id not in gateway.open:
                continue
            if gateway.open[req_id].contract.con_id == UNDER.con_id:
                gateway.take(desk.core.handle(MarketData(gateway.data(req_id, s, 100.0)), at(s)))
            else:
                gateway.take(desk.error(req_id, 354, s))
        gateway.take(desk.wake(s + 0.5))
    (refused,) = only(Notify, gateway.effects)
    assert refused.reply.error is not None
    assert refused.reply.error.code == "permissions_missing"
    assert not gateway.open
    assert not gateway.stored


def test_a_warning_ends_a_chain_only_if_no_data_prove_it_wrong() -> None:
    desk, gateway = begin()
    one = next(req_id for req_id, it in gateway.open.items() if it.contract.strike == 100.0)
    gateway.take(desk.error(one, 10089, 1))
    gateway.run(1, 40)
    assert len(gateway.members()) == 8
    # The same before anything came, and nothing comes.
    desk = Desk(config())
    gateway = Gateway(desk, 10)
    gateway.take(desk.send(Chain(instrument=UNDER.instrument, lease_s=0.0), 0, contract=UNDER))
    (spot,) = gateway.open
    gateway.take(desk.error(spot, 10089, 1))
    gateway.take(desk.wake(15))
    assert not only(Notify, gateway.effects)
    gateway.take(desk.wake(16.5))
    (refused,) = only(Notify, gateway.effects)
    assert refused.reply.error is not None
    assert (refused.reply.error.code, refused.reply.error.ib_code) == ("permissions_missing", 10089)
    assert not gateway.open


def test_what_redis_lost_is_written_again() -> None:
    desk, gateway = begin()
    stored, gateway.stored = gateway.stored, {}
    effects = gateway.take(desk.core.handle(RedisForgot(), at(5)))
    for effect in only(WriteHolders, effects):
        gateway.store(effect.holders)
    assert gateway.stored == stored
    assert states(effects) == [("chain", "live", "")]


def test_fewer_lines_are_taken_after_ib_says_that_there_are_no_more() -> None:
    desk, gateway = begin()
    one = max(gateway.open)
    gateway.take(desk.error(one, 101, 1))
    gateway.run(1, 30)
    assert len(gateway.open) < 9
    gateway.run(30, 70)
    assert len(gateway.open) == 9


def test_a_look_up_that_fails_for_now_is_repeated() -> None:
    desk = Desk(config())
    gateway = Gateway(desk, 10)
    gateway.take(desk.send(Chain(instrument=UNDER.instrument, lease_s=0.0), 0, contract=UNDER))
    (wish,) = gateway.wishes
    gateway.wishes = []
    refusal = Rejection("farm_transient", "IB did not answer in time", None, True, 5.0)
    effects = gateway.take(desk.core.handle(ChainNotFound(wish.name, refusal), at(30)))
    assert states(effects) == [("chain", "starved", "farm_transient")]
    gateway.run(30, 60)
    assert len(gateway.wishes) == 1
    gone = Rejection("invalid_instrument", "IB lists no options")
    effects = gateway.take(desk.core.handle(ChainNotFound(wish.name, gone), at(61)))
    assert [note.reply.status for note in only(Notify, effects)] == ["rejected"]
    assert not gateway.stored


def test_options_are_looked_up_again_by_and_by_even_after_an_outage() -> None:
    desk, gateway = begin()
    gateway.run(0, 301)
    assert len(gateway.wishes) == 1
    gateway.found(301)
    gateway.take(desk.down(310))
    gateway.new = []
    gateway.run(310, 700)
    assert not gateway.wishes
    gateway.take(desk.up(701))
    gateway.run(701, 765)
    assert len(gateway.wishes) == 1


def test_when_a_day_of_expiries_is_over_the_next_ones_take_their_place() -> None:
    desk = Desk(structs.replace(config(), chain_refresh_s=14_400.0))
    gateway = Gateway(desk, 10)
    five = 5 * 3600.0
    gateway.take(desk.send(Chain(instrument=UNDER.instrument, lease_s=0.0), five - 20, contract=UNDER))
    gateway.found(five - 20)
    gateway.run(five - 20, five - 1)
    assert not gateway.wishes
    gateway.run(five - 1, five)
    assert len(gateway.wishes) == 1
    old = gateway.members()
    later = [structs.replace(each, con_id=each.con_id + 500_000, last_trade_date="20261224") for each in LISTED]
    gateway.take(desk.core.handle(ChainFound(NAME, tuple(later)), at(five + 1)))
    gateway.run(five + 1, five + 5)
    assert gateway.members()
    assert not gateway.members() & old
    laid = [record for _, record in published(gateway.effects) if isinstance(record, ChainWindow)][-1]
    assert (laid.reason, laid.expiries) == ("expiry", ["20261224"])


class Life(RuleBasedStateMachine):
    """Prices, subscriptions, ends, losses and time in any order: never a line too many, and nobody is left behind."""

    LINES = 7

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(config(self.LINES), up=False)
        self.gateway = Gateway(self.desk, self.LINES)
        self.s = 0.0
        self.spot = 100.0
        self.up = False
        self.id = 0

    def take(self, effects: list[Effect]) -> None:
        self.gateway.take(effects)
        self.gateway.found(self.s)

    def next_id(self) -> str:
        self.id += 1
        return str(self.id)

    @initialize()
    def connect_first(self) -> None:
        self.connect()

    @rule(client=st.sampled_from("ab"), lines=st.integers(1, 8), right=st.sampled_from(["C", "P", "both"]))
    def chain(self, client: str, lines: int, right: str) -> None:
        command = Chain(instrument=UNDER.instrument, lines=lines, right=right, lease_s=60.0)  # type: ignore[arg-type]  # a literal
        self.take(self.desk.send(command, self.s, self.next_id(), client, UNDER))

    @rule(client=st.sampled_from("xy"), n=st.integers(0, 4))
    def subscribe(self, client: str, n: int) -> None:
        contract = stock(f"S{n}", 500 + n) if n else UNDER
        self.take(
            self.desk.subscribe("quote", s=self.s, id=self.next_id(), client=client, contract=contract, lease_s=30.0)
        )

    @rule(client=st.sampled_from("abxy"))
    def leave(self, client: str) -> None:
        self.take(self.desk.send(Unsubscribe(), self.s, self.next_id(), client))

    @rule(seconds=st.floats(0.1, 40.0), spot=st.floats(55.0, 145.0))
    def time_passes(self, seconds: float, spot: float) -> None:
        self.spot = spot
        until_s = self.s + seconds
        if self.up:
            self.gateway.answer_new(self.s, self.spot)
        wakes = 0
        while (next_s := self.desk.core.next_wakeup_s()) is not None and next_s <= until_s:
            wakes = wakes + 1 if next_s <= self.s else 0
            assert wakes < 100, "it wakes for nothing"
            self.s = max(self.s, next_s)
            self.take(self.desk.wake(self.s))
            if self.up:
                self.gateway.answer_new(self.s, self.spot)
        self.s = until_s

    @rule(code=st.sampled_from([100, 101, 200, 354, 10090, 10197, 322, 504, 98765]), which=st.integers(0, 20))
    def error(self, code: int, which: int) -> None:
        if self.up and self.gateway.open:
            req_id = sorted(self.gateway.open)[which % len(self.gateway.open)]
            self.take(self.desk.core.handle(ErrorNotice(self.desk.conn, ns(self.s), req_id, code, "no"), at(self.s)))

    @rule()
    def disconnect(self) -> None:
        if self.up:
            self.take(self.desk.down(self.s))
            self.up = False
            # Pacing forgets what was open with the connection, without a word.
            self.gateway.new, self.gateway.open = [], {}

    @rule()
    def connect(self) -> None:
        if not self.up:
            self.up = True
            self.take(self.desk.up(self.s))

    @rule()
    def data_lost(self) -> None:
        if self.up:
            self.take(self.desk.core.handle(DataLost(ns(self.s), 1101), at(self.s)))

    @invariant()
    def what_is_taken_is_open_and_within_the_budget(self) -> None:
        taken = self.desk.core.status()["lines"]
        assert isinstance(taken, dict)
        assert taken["taken"] <= self.LINES
        assert len(self.gateway.open) <= taken["taken"]
        if not self.up:
            assert not self.gateway.open

    @invariant()
    def holders_are_stored(self) -> None:
        rows = answer(self.desk.send(List(), self.s, self.next_id())).reply.result
        assert isinstance(rows, dict)
        held = {
            f"{row['kind']}:{row['instrument']}:{holder['client']}"
            for row in rows["subscriptions"]
            for holder in row["holders"]
        }
        assert held == set(self.gateway.stored)

    def teardown(self) -> None:
        """Everybody leaves: every line is given back."""
        for client in "abxy":
            self.take(self.desk.send(Unsubscribe(), self.s, self.next_id(), client))
        assert not self.gateway.open
        assert self.desk.core.status()["lines"] == {"taken": 0, "of": self.LINES}


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase
