"""Chains that fall silent, as a whole or in one member: stale, gaps, new requests, with the hours of a real market."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct, structs

from ibkr_actor.core.chains.messages import ChainFound
from ibkr_actor.core.chains.turns import TurnsConfig
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Effect, Instant, SetFreshness
from ibkr_actor.core.events import ErrorNotice, TickGeneric, TickPrice
from ibkr_actor.core.messages import (
    Enqueue,
    FarmChanged,
    GatewayMute,
    MarketData,
    RequestEnded,
    RequestSent,
    ResolvedCommand,
    SessionUp,
    Stop,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.requests import ReqMktData
from ibkr_actor.core.subscriptions.core import SubscriptionsCore
from ibkr_actor.schema.commands import List, Subscribe
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Gap
from ibkr_actor.schema.reference_commands import Chain
from tests.core.kit import answer, only, published, ref, states, told
from tests.core.test_freshness import stock, utc_ns

UNDER = stock("AAPL", con_id=265598)
OPEN, CLOSED = "2026-01-05 15:00", "2026-01-05 03:00"
NAME = "AAPL.STK.SMART.USD~nearest~C~m0.2"


def option(strike: int) -> Contract:
    return Contract(
        strike, "AAPL", "OPT", "SMART", "USD", f"AAPL.OPT.SMART.USD.20260116.C.{strike}.AAPL",
        last_trade_date="20260116", strike=float(strike), right="C",
    )  # fmt: skip


CHAIN = Chain(instrument=UNDER.instrument, lease_s=0.0, right="C")
MEMBERS = (90, 95, 100, 105, 110)


class House:
    """A core with one chain from a UTC time on, woken every second; `effects` is all that came of it."""

    def __init__(self, start: str = OPEN, *, lines: int = 8, market: Contract | None = None) -> None:
        turns = TurnsConfig(waiting_max=20, delay_s=0.0, turn_min_s=1.0, turn_max_s=3.0)
        self.core = SubscriptionsCore(SubscriptionsConfig(lines=20, chain_lines=lines, chain_turns=turns))
        self.start_ns, self.s = utc_ns(start), 0.0
        self.effects: list[Effect] = []
        # con_id -> its request now; and all con_ids in the order of asking.
        self.open: dict[int, int] = {}
        self.asked: list[int] = []
        self.handle(SessionUp(1, 200))
        self.handle(ResolvedCommand(ref("1", "c", "chain"), CHAIN, UNDER))
        self.handle(ChainFound(NAME, tuple(map(option, MEMBERS)), market))
        self.speak([UNDER.con_id])

    @property
    def now(self) -> Instant:
        return Instant(1000.0 + self.s, self.start_ns + round(self.s * 1e9))

    def handle(self, message: Struct) -> list[Effect]:
        effects = self.core.handle(message, self.now)
        self.effects += effects
        over = {word.req_id for word in told(effects, Withdraw)} | {word.req_id for word in told(effects, RequestEnded)}
        self.open = {con_id: req_id for con_id, req_id in self.open.items() if req_id not in over}
        for request in [message.request for message in told(effects, Enqueue)]:
            assert isinstance(request, ReqMktData)
            if request.req_id not in over:
                self.open[request.contract.con_id] = request.req_id
                self.asked.append(request.contract.con_id)
                self.core.handle(RequestSent(request.req_id, self.now.s), self.now)
        return effects

    def speak(self, con_ids: Iterable[int]) -> list[Effect]:
        """A bid and an ask of each that has a line."""
        prices = {con_id: 100.0 if con_id == UNDER.con_id else 2.5 for con_id in con_ids}
        return self.handle(
            MarketData(
                [
                    TickPrice(self.open[con_id], self.now.ns, side, price, "1", 0)
                    for con_id, price in prices.items()
                    if con_id in self.open
                    for side in (1, 2)
                ]
            )
        )

    def all_but(self, *silent: int) -> Callable[[], object]:
        return lambda: self.speak([con_id for con_id in (UNDER.con_id, *MEMBERS) if con_id not in silent])

    def run(self, seconds: int, speak: Callable[[], object] | None = None) -> list[Effect]:
        first = len(self.effects)
        for _ in range(seconds):
            self.s += 1.0
            if speak is not None:
                speak()
            due_s = self.core.next_wakeup_s()
            if due_s is not None and due_s <= self.now.s:
                self.handle(WakeUp())
        return self.effects[first:]

    def farm(self, up: bool) -> list[Effect]:
        return self.handle(FarmChanged("usopt", "market", up, self.now.ns))

    def row(self) -> dict[str, object]:
        rows = answer(self.core.handle(ResolvedCommand(ref("9"), List(), None), self.now)).reply.result
        assert isinstance(rows, dict)
        (row,) = rows["subscriptions"]
        assert isinstance(row, dict)
        return row


def gaps(effects: list[Effect]) -> list[tuple[int, str, int | None]]:
    return [
        (record.con_id, record.cause, record.from_ns) for _, record in published(effects) if isinstance(record, Gap)
    ]


def freshness(effects: list[Effect]) -> list[str]:
    return [effect.freshness for effect in only(SetFreshness, effects) if effect.stream.kind == "chain"]


def test_a_chain_is_fresh_stale_when_nothing_comes_and_fresh_again_behind_one_gap() -> None:
    house = House()
    house.run(90, house.all_but())
    assert freshness(house.effects) == ["fresh"]
    last_ns = house.now.ns
    assert (house.row()["freshness"], house.row()["received_ns"]) == ("fresh", str(last_ns))
    silent = house.run(20)
    assert freshness(silent) == ["stale"]
    assert ("chain", "starved", "silent") in states(silent)
    (said,) = [told.record for told in only(Announce, silent)]
    assert (said.event, said.subject) == ("stale", f"chain:{NAME}")
    counts = house.core.status()["freshness"]
    assert isinstance(counts, dict)
    assert (counts["stale"], counts["stale_lines"]) == (1, [f"chain:{NAME}"])
    back = house.run(5, house.all_but())
    assert gaps(back) == [(UNDER.con_id, "stall", last_ns)]
    assert freshness(back) == ["fresh"]
    assert states(back) == [("chain", "live", "")]
    assert gaps(house.run(60, house.all_but())) == []


def test_a_silent_gateway_leads_to_new_requests_one_after_the_other() -> None:
    house = House()
    house.run(90, house.all_but())
    house.asked = []
    house.run(28)
    assert house.asked == []
    house.run(10)
    assert sorted(house.asked) == [*MEMBERS, UNDER.con_id]


def test_a_chain_is_stale_as_soon_as_the_gateway_does_not_even_tell_its_time() -> None:
    house = House()
    house.run(3, house.all_but())
    last_ns = house.now.ns
    assert house.handle(GatewayMute()) == []
    silent = house.run(7)
    assert freshness(silent) == []
    silent = house.handle(GatewayMute())
    assert (freshness(silent), states(silent)) == (["stale"], [("chain", "starved", "silent")])
    back = house.run(3, house.all_but())
    assert (gaps(back), freshness(back)) == ([(UNDER.con_id, "stall", last_ns)], ["fresh"])


def test_one_member_that_is_silent_has_a_gap_of_its_own_and_is_asked_again_ever_more_rarely() -> None:
    house = House()
    house.run(90, house.all_but())
    last_ns = house.now.ns
    house.asked = []
    silent = house.run(60, house.all_but(100))
    assert house.asked == [100]
    assert gaps(silent) == []
    assert set(freshness(house.effects)) == {"fresh"}
    house.run(540, house.all_but(100))
    assert set(house.asked) == {100}
    assert 3 <= len(house.asked) <= 6
    assert gaps(house.speak([100])) == [(100, "stall", last_ns)]
    house.asked = []
    assert gaps(house.run(60, house.all_but())) == []
    assert house.asked == []


def test_a_member_that_is_always_slow_is_not_asked_for_again_at_its_own_pace() -> None:
    house = House()
    known: list[int] = []

    def speak() -> None:
        house.all_but(100)()
        # Every five minutes by itself, and whenever it was asked for.
        if house.s % 300 == 0 or house.open[100] not in known:
            known.append(house.open[100])
            house.speak([100])

    first = house.run(3600, speak)
    assert 1 <= len([con_id for con_id, _, _ in gaps(first) if con_id == 100]) <= 5
    assert len(gaps(house.run(3600, speak))) <= 3


def test_a_farm_that_flaps_is_one_gap_of_the_chain_or_of_the_members_it_silenced() -> None:
    house = House()
    house.run(90, house.all_but())
    last_ns = house.now.ns
    house.farm(False)
    away = house.run(5)
    assert ("chain", "starved", "farm") in states(away)
    (said,) = only(Announce, house.farm(True))
    assert (said.record.topic, said.record.event) == ("gap", "farm")
    assert gaps(house.run(60, house.all_but())) == [(UNDER.con_id, "farm", last_ns)]
    last_ns = house.now.ns
    house.farm(False)
    house.run(4, house.all_but(95, 110))
    house.farm(True)
    assert gaps(house.run(60, house.all_but())) == [(95, "farm", last_ns), (110, "farm", last_ns)]
    assert states(house.effects)[-1] == ("chain", "live", "")


def test_another_login_starves_a_chain_that_asks_again_after_a_minute() -> None:
    house = House()
    house.run(90, house.all_but())
    for req_id in list(house.open.values()):
        house.handle(ErrorNotice(1, house.now.ns, req_id, 10197, "no market data during competing live session"))
    taken_ns, house.asked = house.now.ns, []
    silent = house.run(59)
    assert house.asked == []
    assert states(house.effects)[-1] == ("chain", "starved", "competing_session")
    assert freshness(silent) == ["stale"]
    assert house.row()["reason"] == "competing_session"
    house.run(5)
    assert sorted(house.asked) == [*MEMBERS, UNDER.con_id]
    assert gaps(house.run(5, house.all_but())) == [(UNDER.con_id, "competing_session", taken_ns)]


def test_turns_pause_while_another_login_has_the_data() -> None:
    house = House(lines=2)
    house.run(30, house.all_but())
    assert len(house.asked) > 12
    for req_id in list(house.open.values()):
        house.handle(ErrorNotice(1, house.now.ns, req_id, 10197, "no market data during competing live session"))
    house.asked = []
    house.run(50)
    assert house.asked == []
    house.run(20)
    assert house.asked


def test_when_the_options_market_is_closed_a_chain_is_quiet_and_nothing_is_asked_again() -> None:
    # It is in the hours of the stock, not in those of its options.
    hours = structs.replace(UNDER, trading_hours=UNDER.liquid_hours)
    house = House("2026-01-05 12:00", market=hours)
    house.run(10, house.all_but())
    house.asked = []
    house.run(600, house.all_but(*MEMBERS))
    assert (house.row()["freshness"], house.row()["state"]) == ("quiet", "live")
    assert house.asked == []
    # Turns bring data of a closed market at any time: no sign of life.
    turning = House("2026-01-05 12:00", lines=2, market=hours)
    turning.run(120, turning.all_but())
    assert set(freshness(turning.effects)) == {"quiet"}


def test_a_halt_of_the_underlying_is_no_silence() -> None:
    house = House()
    house.run(90, house.all_but())
    house.handle(MarketData([TickGeneric(house.open[UNDER.con_id], house.now.ns, 49, 1.0)]))
    house.asked = []
    halted = house.run(120)
    assert freshness(halted) == ["quiet"]
    assert house.asked == []
    assert gaps(house.speak(MEMBERS)) == []


def test_a_stop_leaves_no_chain_that_is_called_fresh() -> None:
    house = House()
    house.run(30, house.all_but())
    assert freshness(house.handle(Stop())) == ["stale"]


def test_without_any_line_left_a_chain_is_starved_of_lines() -> None:
    house = House()
    house.run(30, house.all_but())
    for n in range(20):
        other = stock(f"S{n}", con_id=1000 + n)
        command = Subscribe(instrument=other.instrument, kinds=["quote"], lease_s=0.0)
        house.handle(ResolvedCommand(ref(f"s{n}", "other"), command, other))
    house.run(5)
    assert [state for state in states(house.effects) if state[0] == "chain"][-1] == ("chain", "starved", "line_limit")
