from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import Effect, Send, Tell
from ibkr_actor.core.messages import (
    Enqueue,
    RateExceeded,
    RequestEnded,
    RequestRefused,
    RequestSent,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.pacing.limits import Limit, limits_of, open_limits_of
from ibkr_actor.core.pacing.rolling_window import Window
from ibkr_actor.core.requests import (
    AnyRequest,
    CancelMktData,
    CancelMktDepth,
    CancelRealTimeBars,
    CancelTickByTick,
    ReqContractDetails,
    ReqCurrentTime,
    ReqMktData,
    ReqMktDepth,
    ReqRealTimeBars,
    ReqTickByTick,
)
from ibkr_actor.schema.instruments import InstrumentQuery
from tests.core.kit import SECOND_S, at, ns, one, only, ref, said, stock, told


def up(config: PacingConfig | None = None, s: float = 0.0) -> PacingCore:
    """Up for long enough that the startApi of its connection counts no more."""
    pacing = PacingCore(config or PacingConfig())
    pacing.handle(SessionUp(1, 200), at(s - 2.0))
    return pacing


def level1(n: int) -> ReqMktData:
    return ReqMktData(n * 10 + 2, stock())


def by_tick(n: int, con_id: int = 1) -> ReqTickByTick:
    return ReqTickByTick(n * 10 + 2, stock("X", con_id), "Last")


def bars(n: int) -> ReqRealTimeBars:
    return ReqRealTimeBars(n * 10 + 2, stock(), "TRADES", False)


def sent(effects: list[Effect]) -> list[AnyRequest]:
    return [effect.request for effect in only(Send, effects)]


def ask(pacing: PacingCore, request: AnyRequest, s: float, *, priority: int = 1, client: str = "") -> list[AnyRequest]:
    return sent(pacing.handle(Enqueue(request, priority=priority, client=client), at(s)))


def drain(pacing: PacingCore, until_s: float) -> list[tuple[float, AnyRequest]]:
    """Wakes pacing as often as it asks; every wake-up must release something or move something on."""
    out: list[tuple[float, AnyRequest]] = []
    for _ in range(100_000):
        due_s = pacing.next_wakeup_s()
        if due_s is None or due_s > until_s:
            return out
        out += [(due_s, request) for request in sent(pacing.handle(WakeUp(), at(due_s)))]
    raise AssertionError("pacing never rests")


# ---- limits as rows


def test_the_rows_are_ibs_limits() -> None:
    rows = {limit.name: (limit.window_s, limit.count, limit.margin_s) for limit in limits_of(PacingConfig())}
    assert rows == {
        "messages": (1.0, 50, PacingConfig().message_margin_s),
        "tick_by_tick_instrument": (15.0, 1, 0.5),
        "search": (1.0, 1, PacingConfig().message_margin_s),
        "small_bars": (600.0, 60, 0.5),
        "same_contract": (2.0, 5, 0.5),
        "identical": (15.0, 1, 0.5),
        "big_bars": (1.0, 30, PacingConfig().message_margin_s),
    }
    assert {limit.name: limit.count for limit in open_limits_of(PacingConfig())} == {
        "open_history": 50,
        "open_big_bars": 40,
        "open_scans": 10,
    }
    assert all(limit.source for limit in limits_of(PacingConfig()))
    assert limits_of(PacingConfig(lines=1))[0].count == 1


def test_a_window_rolls_and_is_no_bucket() -> None:
    window = Window(Limit("x", 10.0, 2, 0.0, "test"))
    window.add(0.0, 1)
    window.add(9.0, 1)
    assert window.free_at(9.0, 1) == 10.0
    assert window.free_at(9.0, 2) == 19.0
    window.prune(10.0)
    assert window.used == 1
    assert window.free_at(10.0, 1) == 10.0


def test_a_request_leaves_at_once_when_nothing_forbids_it_and_its_owner_is_told() -> None:
    effects = up().handle(Enqueue(level1(1)), at(3))
    assert effects == [Send(level1(1)), Tell("subscriptions", RequestSent(12, 3.0))]


def test_half_as_many_messages_a_second_as_lines_leave_and_not_one_more() -> None:
    pacing = up(PacingConfig(lines=100))
    times = [(0.0, request) for n in range(120) for request in ask(pacing, level1(n), 0.0)]
    assert len(times) == 50
    assert pacing.next_wakeup_s() == SECOND_S
    times += drain(pacing, 10.0)
    assert Counter(round(s, 6) for s, _ in times) == {0.0: 50, round(SECOND_S, 6): 50, round(2 * SECOND_S, 6): 20}


def test_the_start_api_of_a_new_connection_counts_as_a_message() -> None:
    pacing = PacingCore(PacingConfig(lines=4))
    pacing.handle(SessionUp(1, 200), at(0.0))
    assert ask(pacing, level1(1), 0.0) == [level1(1)]
    assert ask(pacing, level1(2), 0.0) == []
    assert drain(pacing, 2.0) == [(SECOND_S, level1(2))]


def test_the_same_instrument_is_asked_tick_by_tick_once_in_15_seconds_whatever_the_type() -> None:
    pacing = up()
    assert ask(pacing, by_tick(1, con_id=7), 0.0)
    assert not ask(pacing, ReqTickByTick(22, stock("X", 7), "BidAsk"), 0.1)
    assert ask(pacing, by_tick(3, con_id=8), 0.2)
    assert [s for s, _ in drain(pacing, 100.0)] == [15.5]


def test_new_real_time_bars_are_60_in_600_seconds() -> None:
    pacing = up(PacingConfig(lines=1000))
    out = [(0.0, request) for n in range(130) for request in ask(pacing, bars(n), 0.0)]
    out += drain(pacing, 5000.0)
    assert Counter(s for s, _ in out) == {0.0: 60, 600.5: 60, 1201.0: 10}


def test_a_request_held_by_its_own_limit_holds_up_no_other() -> None:
    pacing = up(PacingConfig(lines=1000))
    for n in range(70):
        ask(pacing, bars(n), 0.0)
    assert ask(pacing, level1(100), 0.0) == [level1(100)]
    assert ask(pacing, by_tick(101), 0.0) == [by_tick(101)]


def test_a_limit_is_remembered_over_a_reconnect_and_the_requests_are_not() -> None:
    pacing = up()
    ask(pacing, by_tick(1), 0.0)
    ask(pacing, by_tick(2), 0.0)
    pacing.handle(SessionDown(1, ns(1), "disconnect", "x"), at(1))
    assert pacing.next_wakeup_s() is None
    pacing.handle(SessionUp(2, 200), at(2))
    assert pacing.next_wakeup_s() is None
    assert not ask(pacing, by_tick(3), 2.0)
    assert drain(pacing, 100.0) == [(15.5, by_tick(3))]


def test_without_a_session_and_for_an_earlier_one_nothing_is_taken() -> None:
    pacing = PacingCore(PacingConfig())
    assert not ask(pacing, level1(1), 0.0)
    pacing.handle(SessionUp(2, 200), at(1))
    assert not sent(pacing.handle(Enqueue(level1(2), conn=1), at(1)))
    assert sent(pacing.handle(Enqueue(level1(3), conn=2), at(1))) == [level1(3)]
    assert pacing.status(at(1))["dropped_stale"] == 2


# ---- order


def test_lower_priorities_go_first_then_clients_in_turn_then_first_come() -> None:
    pacing = up(PacingConfig(lines=2))
    ask(pacing, level1(0), 0.0)
    for n in (1, 2, 3):
        ask(pacing, level1(n), 0.0, client="a")
    ask(pacing, level1(4), 0.0, client="b")
    ask(pacing, level1(5), 0.0, client="c", priority=2)
    ask(pacing, ReqCurrentTime(60), 0.0, priority=0)
    assert [request.req_id // 10 for _, request in drain(pacing, 60.0)] == [6, 1, 4, 2, 3, 5]


def test_ten_thousand_requests_of_one_client_do_not_delay_another() -> None:
    pacing = up(PacingConfig(lines=100, queue_max=20_000))
    for n in range(10_000):
        ask(pacing, level1(n), 0.0, client="greedy")
    ask(pacing, level1(10_001), 0.0, client="modest")
    times = {request.req_id: s for s, request in drain(pacing, 2.0)}
    assert times[100_012] == SECOND_S


def test_clients_take_turns_within_one_limit_too() -> None:
    pacing = up(PacingConfig(lines=1000))
    for n in range(200):
        ask(pacing, bars(n), 0.0, client="greedy")
    ask(pacing, bars(300), 0.0, client="modest")
    assert 3002 in [request.req_id for _, request in drain(pacing, 601.0)]


def test_a_later_request_does_not_overtake_one_that_waits_for_the_same_limit() -> None:
    pacing = up()
    ask(pacing, by_tick(1), 0.0)
    ask(pacing, by_tick(2), 0.0)
    assert not ask(pacing, by_tick(3), 15.4)
    assert [request.req_id for request in ask(pacing, by_tick(4), 15.5)] == [22]
    assert [request.req_id for _, request in drain(pacing, 60.0)] == [32, 42]


def test_room_that_the_first_in_line_cannot_use_goes_to_the_next() -> None:
    def of(*con_ids: int) -> Callable[[AnyRequest], str | None]:
        return lambda r: "key" if isinstance(r, ReqTickByTick) and r.contract.con_id in con_ids else None

    pacing = PacingCore(
        PacingConfig(), (Limit("a", 20.0, 1, 0.0, "test", of(1, 2)), Limit("b", 15.0, 1, 0.0, "test", of(1, 3))), ()
    )
    pacing.handle(SessionUp(1, 200), at(0))
    assert ask(pacing, by_tick(1, con_id=2), 0.0)
    assert ask(pacing, by_tick(2, con_id=3), 0.0)
    for n, con_id in ((3, 1), (4, 2), (5, 3)):
        assert not ask(pacing, by_tick(n, con_id=con_id), 1.0)
    assert [(s, request.req_id // 10) for s, request in drain(pacing, 90.0)] == [(15.0, 5), (20.0, 4), (40.0, 3)]


def test_a_heavy_request_is_not_passed_by_light_ones_for_ever() -> None:
    def weight(request: AnyRequest) -> int:
        return 2 if isinstance(request, ReqTickByTick) and request.contract.con_id == 1 else 1

    def by_type(request: AnyRequest) -> str | None:
        return "all" if isinstance(request, ReqTickByTick) else None

    for shared in (False, True):
        pacing = PacingCore(PacingConfig(), (Limit("n", 10.0, 2, 0.0, "test", by_type, weight, shared=shared),), ())
        pacing.handle(SessionUp(1, 200), at(0))
        assert ask(pacing, by_tick(1, con_id=2), 0.0)
        assert not ask(pacing, by_tick(2, con_id=1), 1.0, client="heavy")
        for n in range(3, 20):
            assert by_tick(2, con_id=1) not in ask(pacing, by_tick(n, con_id=2), n / 10.0, client=f"c{n}")
        assert sent(pacing.handle(WakeUp(), at(10.0))) == [by_tick(2, con_id=1)]


# ---- cancels


@pytest.mark.parametrize(
    ("request_", "cancel"),
    [
        (level1(1), CancelMktData(12)),
        (by_tick(1), CancelTickByTick(12)),
        (bars(1), CancelRealTimeBars(12)),
        (ReqMktDepth(12, stock(), 10, True), CancelMktDepth(12, True)),
    ],
)
def test_a_request_that_was_sent_is_withdrawn_by_its_cancel(request_: AnyRequest, cancel: AnyRequest) -> None:
    pacing = up()
    ask(pacing, request_, 0.0)
    assert sent(pacing.handle(Withdraw(12), at(1))) == [cancel]
    assert sent(pacing.handle(Withdraw(12), at(1))) == []


def test_a_request_that_waits_is_withdrawn_without_a_word_to_ib() -> None:
    pacing = up()
    ask(pacing, by_tick(1), 0.0)
    ask(pacing, by_tick(2), 0.0)
    assert sent(pacing.handle(Withdraw(22), at(1))) == []
    assert pacing.next_wakeup_s() is None
    assert drain(pacing, 100.0) == []


def test_what_ended_by_itself_is_not_cancelled() -> None:
    pacing = up()
    ask(pacing, level1(1), 0.0)
    ask(pacing, ReqContractDetails(11, InstrumentQuery("A")), 0.0)
    pacing.handle(RequestEnded(12), at(1))
    assert sent(pacing.handle(Withdraw(12), at(1))) == []
    assert sent(pacing.handle(Withdraw(11), at(1))) == []


def test_cancels_go_before_everything_and_count_as_messages() -> None:
    pacing = up(PacingConfig(lines=4))
    ask(pacing, level1(1), 0.0)
    ask(pacing, level1(2), 0.0)
    ask(pacing, ReqCurrentTime(30), 0.0, priority=0)
    pacing.handle(Withdraw(12), at(0.5))
    pacing.handle(Withdraw(22), at(0.5))
    assert drain(pacing, 9.0) == [
        (SECOND_S, CancelMktData(12)),
        (SECOND_S, CancelMktData(22)),
        (2 * SECOND_S, ReqCurrentTime(30)),
    ]


# ---- bounds


def test_a_full_queue_refuses_counts_and_says_so_once() -> None:
    pacing = up(PacingConfig(lines=2, queue_max=3))
    for n in range(4):
        ask(pacing, level1(n), 0.0)
    first = pacing.handle(Enqueue(level1(5)), at(0))
    refused = told(first, RequestRefused)[0]
    assert refused.req_id == 52
    assert refused.retry_after_s > 3
    assert said(first) == ["queue_full"]
    assert said(pacing.handle(Enqueue(level1(6)), at(0))) == []
    assert pacing.status(at(0))["refused"] == 2
    drain(pacing, 60.0)
    assert ask(pacing, level1(7), 60.0)


def test_windows_of_instruments_no_longer_asked_are_forgotten() -> None:
    pacing = up(PacingConfig(lines=100_000))
    for n in range(5000):
        ask(pacing, by_tick(n, con_id=n), float(n))
    assert len(pacing._room.narrow) < 600


def test_error_100_holds_everything_for_a_while() -> None:
    pacing = up(PacingConfig(rate_pause_s=5.0))
    pacing.handle(RateExceeded(100), at(10))
    assert not ask(pacing, level1(1), 10.0)
    assert pacing.next_wakeup_s() == 15.0
    assert drain(pacing, 20.0) == [(15.0, level1(1))]


def test_a_stop_drops_what_waits_sends_the_cancels_and_then_stops_the_session() -> None:
    pacing = up(PacingConfig(lines=2))
    ask(pacing, level1(1), 0.0)
    ask(pacing, level1(2), 0.0)
    pacing.handle(Start(), at(0))
    pacing.handle(Withdraw(12), at(0.5))
    assert told(pacing.handle(Stop(), at(0.5)), Stop) == []
    assert pacing.next_wakeup_s() == SECOND_S
    effects = pacing.handle(WakeUp(), at(SECOND_S))
    assert effects == [Send(CancelMktData(12)), Tell("session", Stop())]
    assert pacing.next_wakeup_s() is None


def test_a_stop_without_a_session_goes_on_at_once() -> None:
    assert PacingCore(PacingConfig()).handle(Stop(), at(0)) == [Tell("session", Stop())]


def test_a_session_that_ends_while_cancels_wait_ends_the_stop_too() -> None:
    pacing = up(PacingConfig(lines=2))
    ask(pacing, level1(1), 0.0)
    pacing.handle(Withdraw(12), at(0.5))
    pacing.handle(Stop(), at(0.5))
    effects = pacing.handle(SessionDown(1, ns(0.6), "disconnect", "x"), at(0.6))
    assert effects == [Tell("session", Stop())]


# ---- what is told


def test_the_time_until_a_request_may_go_is_known() -> None:
    pacing = up(PacingConfig(lines=4))
    for n in range(1, 8):
        ask(pacing, level1(n), 0.0)
    assert pacing.eta_s(12, 0.0) is None
    times = pytest.approx([SECOND_S * turn for turn in (1, 1, 2, 2, 3)])
    assert [pacing.eta_s(n * 10 + 2, 0.0) for n in range(3, 8)] == times
    assert [s for s, _ in drain(pacing, 60.0)] == times


def test_the_time_of_a_request_held_by_its_own_limit_is_known() -> None:
    pacing = up()
    for n in range(1, 4):
        ask(pacing, by_tick(n), 0.0)
    assert pacing.eta_s(22, 1.0) == 14.5
    assert pacing.eta_s(32, 1.0) == 30.0


def test_the_status_says_what_waits_for_which_limit() -> None:
    pacing = up()
    ask(pacing, by_tick(1), 0.0, client="a")
    ask(pacing, by_tick(2), 0.0, client="b")
    query = one(Tell, pacing.handle(StatusQuery(ref(), {"x": 1}), at(1)))
    assert query.to == "session"
    assert isinstance(query.message, StatusQuery)
    part = query.message.parts["pacing"]
    assert isinstance(part, dict)
    assert part["next"] == [
        {
            "request": "ReqTickByTick",
            "client": "b",
            "priority": "live",
            "limit": "tick_by_tick_instrument",
            "eta_s": 14.5,
        }
    ]
    assert (part["waiting"], part["held_by_a_limit"], part["sent"], part["open"]) == (1, 1, 1, 1)


# ---- the promise, judged from outside


LIMITS = (
    Limit("messages", 1.0, 5, 0.1, "test"),
    Limit("pairs", 10.0, 2, 0.5, "test", lambda r: r.contract.con_id % 3 if isinstance(r, ReqTickByTick) else None),
    Limit(
        "heavy",
        7.0,
        3,
        0.5,
        "test",
        lambda r: "all" if isinstance(r, ReqTickByTick) else None,
        lambda r: 2 if isinstance(r, ReqTickByTick) and r.contract.con_id == 1 else 1,
        shared=True,
    ),
)
Step = tuple[float, int, str, int]
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0, 4.0]),
        st.integers(0, 7),
        st.sampled_from(["a", "b"]),
        st.integers(0, 2),
    ),
    max_size=60,
)


def never_too_many(log: list[tuple[float, AnyRequest]], limit: Limit, delays: list[float]) -> None:
    """Counts as IB does, on receipt, with any delay below the margin."""
    seen: dict[object, deque[tuple[float, int]]] = {}
    received = sorted(
        (s + delays[n % len(delays)] * limit.margin_s * 0.99, n, request) for n, (s, request) in enumerate(log)
    )
    for s, _, request in received:
        key = limit.scope(request) if limit.scope is not None else "connection"
        if key is None:
            continue
        window = seen.setdefault(key, deque())
        while window and window[0][0] <= s - limit.window_s:
            window.popleft()
        window.append((s, limit.weight(request)))
        assert sum(weight for _, weight in window) <= limit.count, (limit.name, s)


def fits(log: list[tuple[float, AnyRequest]], request: AnyRequest, s: float) -> bool:
    """Whether every limit, margin included, allows the request now."""
    for limit in LIMITS:
        key = limit.scope(request) if limit.scope is not None else None
        if limit.scope is not None and key is None:
            continue
        used = sum(
            limit.weight(other)
            for t, other in log
            if t + limit.span_s > s and (limit.scope is None or limit.scope(other) == key)
        )
        if used + limit.weight(request) > limit.count:
            return False
    return True


@settings(max_examples=60)
@given(steps, st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_no_limit_is_ever_exceeded_nothing_waits_that_may_go_and_everything_goes(
    plan: list[Step], delays: list[float]
) -> None:
    pacing = PacingCore(PacingConfig(), LIMITS)
    pacing.handle(SessionUp(1, 200), at(-2))
    log: list[tuple[float, AnyRequest]] = []
    waiting: dict[int, AnyRequest] = {}
    now_s = 0.0

    def take(effects: list[Effect], s: float) -> None:
        for request in sent(effects):
            assert fits(log, request, s)
            log.append((s, request))
            waiting.pop(request.req_id, None)
        # Within one lane a heavy request first in line may hold a light one: anything else that fits has gone.
        held = [request for request in waiting.values() if fits(log, request, s)]
        assert not [request for request in held if not isinstance(request, ReqTickByTick)]
        assert not held or any(isinstance(r, ReqTickByTick) and r.contract.con_id == 1 for r in waiting.values())

    def run_to(until_s: float) -> None:
        while (due_s := pacing.next_wakeup_s()) is not None and due_s <= until_s:
            take(pacing.handle(WakeUp(), at(due_s)), due_s)

    for n, (pause_s, what, client, priority) in enumerate(plan):
        now_s += pause_s
        run_to(now_s)
        if what == 0 and waiting:
            gone = next(iter(waiting))
            del waiting[gone]
            take(pacing.handle(Withdraw(gone), at(now_s)), now_s)
            continue
        request: AnyRequest = level1(n) if what < 3 else by_tick(n, con_id=what - 3)
        waiting[request.req_id] = request
        take(pacing.handle(Enqueue(request, priority=priority, client=client), at(now_s)), now_s)
    run_to(now_s + 10_000)
    assert not waiting
    assert pacing.next_wakeup_s() is None
    for limit in LIMITS:
        never_too_many(log, limit, delays)


def test_the_cancel_of_a_book_leaves_before_the_request_that_takes_its_place() -> None:
    pacing = up()
    ask(pacing, ReqMktDepth(12, stock(), 10), 0.0)
    effects = pacing.handle(Withdraw(12), at(1))
    effects += pacing.handle(Enqueue(ReqMktDepth(22, stock(), 10), conn=1), at(1))
    assert sent(effects) == [CancelMktDepth(12), ReqMktDepth(22, stock(), 10)]
