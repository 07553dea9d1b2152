"""What pacing promises, judged from outside: no limit is exceeded, nothing is held needlessly, nothing starves."""

from __future__ import annotations

from hypothesis import given, seed, settings
from hypothesis import strategies as st
from msgspec import Struct

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import Effect
from ibkr_actor.core.messages import Enqueue, Withdraw
from ibkr_actor.core.requests import AnyRequest
from tests.core.ib_at_work import IB, bars, big, by_tick, head, histogram, level1, small, ticks
from tests.core.kit import SECOND_S

# Limits small enough that a short plan meets all of them.
TIGHT = PacingConfig(
    lines=8,
    small_bars_count=6,
    small_bars_window_s=30.0,
    open_max=4,
    big_bars_open_max=2,
    big_bars_per_s=2,
    lower_priority_every=4,
)


def request_of(n: int, kind: int, con_id: int) -> AnyRequest:
    what = ("TRADES", "BID_ASK")[con_id == 2]
    return (
        small(n, con_id, what),
        small(n, con_id, what, end="same"),
        small(n, 1),
        big(n, con_id),
        ticks(n, con_id, what),
        head(n, con_id),
        histogram(n),
        bars(n),
        by_tick(n, con_id),
        level1(n),
    )[kind]


Step = tuple[float, int, int, str, int]
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0, 7.0]),
        st.integers(0, 10),
        st.integers(1, 3),
        st.sampled_from(["a", "b", "c"]),
        st.integers(1, 2),
    ),
    min_size=15,
    max_size=50,
)


class Judged(IB):
    """Looks before and after every step for a request that waits though it may go."""

    looked_s = 0.0

    def tell(self, message: Struct) -> list[Effect]:
        now_s = self.now_s
        if now_s > self.looked_s + 1e-6:
            # What could have gone a moment ago was woken too late.
            self.now_s = now_s - 1e-6
            self.look()
        self.now_s = self.looked_s = now_s
        effects = super().tell(message)
        self.look()
        return effects

    def look(self) -> None:
        held = [one.request for one in self.waiting.values() if self.allowed(one.request)]
        if held:
            # Only light ones, for the last room of the ten minutes, which a heavy one before them needs.
            shown = [getattr(one.request, "what_to_show", "") for one in self.waiting.values()]
            assert "BID_ASK" in shown
            assert all(getattr(request, "what_to_show", "") == "TRADES" for request in held)
            assert self.used("small", 0, 30.5) == 5


@seed(20261122)
@settings(max_examples=60)
@given(steps, st.floats(0.1, 9.0), st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_no_limit_is_exceeded_nothing_that_may_go_waits_and_nothing_starves(
    plan: list[Step], answer_s: float, delays: list[float]
) -> None:
    ib = Judged(TIGHT, answer_s)
    now_s = 0.0
    asked: list[int] = []
    for n, (pause_s, kind, con_id, client, priority) in enumerate(plan):
        now_s += pause_s
        if kind == 10 and asked:
            ib.at(now_s, Withdraw(asked[con_id % len(asked)]))
            continue
        request = request_of(n, min(kind, 9), con_id)
        asked.append(request.req_id)
        ib.at(now_s, Enqueue(request, priority=priority, client=client))
    ib.run()
    ib.judge(delays)
    assert not ib.waiting
    assert not ib.open
    assert ib.pacing.next_wakeup_s() is None


def test_180_small_bar_requests_take_two_windows_and_the_last_answers() -> None:
    ib = IB(PacingConfig())
    for n in range(180):
        ib.ask(0.0, small(n, con_id=n % 30))
    ib.run()
    ib.judge([0.0, 1.0])
    bound_s = (180 - 60) / 60 * 600.5 + 1.0
    assert bound_s <= ib.now_s <= bound_s * 1.02


def test_180_requests_of_one_contract_take_no_longer_than_that_and_the_bursts() -> None:
    ib = IB(PacingConfig())
    for n in range(180):
        ib.ask(0.0, small(n))
    ib.run()
    ib.judge([0.0, 1.0])
    # Five in two and a half seconds within each window; the windows themselves roll.
    assert ib.now_s <= 2 * 600.5 + 11 * 2.5 + 1.0


def test_bid_ask_takes_twice_as_long() -> None:
    ib = IB(PacingConfig())
    for n in range(90):
        ib.ask(0.0, small(n, con_id=n, what="BID_ASK"))
    ib.run()
    ib.judge([0.0, 1.0])
    assert 1201.0 <= ib.now_s <= 1201.0 * 1.02


def test_500_requests_for_daily_bars_wait_for_nothing_but_the_rate() -> None:
    ib = IB(PacingConfig())
    for n in range(500):
        ib.ask(0.0, big(n, con_id=n))
    ib.run()
    ib.judge([0.0, 1.0])
    assert ib.now_s <= 500 / 30 * SECOND_S + 1.0


def test_300_symbols_by_30_days_of_5_second_bars_come_within_3_percent_of_the_bound() -> None:
    ib = IB(PacingConfig(queue_max=10_000))
    for n in range(9000):
        ib.ask(0.0, small(n, con_id=1 + n // 30), client=f"c{n % 7}", priority=2)
    ib.run()
    assert len(ib.log) == 9000
    bound_s = (9000 - 60) / 60 * 600.5 + 1.0
    assert bound_s <= ib.now_s <= bound_s * 1.03
    assert ib.wakeups < 9000
    ib.judge([0.0, 1.0, 0.5])
