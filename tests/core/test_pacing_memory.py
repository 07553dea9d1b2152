"""What pacing writes down, when, and what a restart makes of it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import Effect, Instant, Send, WritePacing
from ibkr_actor.core.messages import (
    ClearCooldowns,
    Enqueue,
    PacingViolated,
    RedisForgot,
    RestorePacing,
    SessionDown,
    SessionUp,
    Stop,
    WakeUp,
)
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.pacing.memory import Snapshot
from ibkr_actor.core.requests import AnyRequest
from tests.core.ib_at_work import IB, big, by_tick, level1, small
from tests.core.kit import START_NS, at, ns, only, ref, said


def up(config: PacingConfig | None = None, s: float = 0.0, value: bytes = b"") -> PacingCore:
    pacing = PacingCore(config or PacingConfig())
    pacing.handle(RestorePacing(value), at(s))
    pacing.handle(SessionUp(1, 200), at(s))
    return pacing


def ask(pacing: PacingCore, request: AnyRequest, s: float) -> list[Effect]:
    return pacing.handle(Enqueue(request), at(s))


def went(effects: list[Effect]) -> bool:
    return bool(only(Send, effects))


def written(effects: list[Effect]) -> bytes | None:
    found = only(WritePacing, effects)
    assert len(found) <= 1
    return found[0].value if found else None


def read(value: bytes | None) -> Snapshot:
    assert value is not None
    return msgspec.json.decode(value, type=Snapshot)


# Writes are put off.
LATER = PacingConfig(unsaved_max=40)

# ---- when


def test_it_is_written_before_the_request_leaves() -> None:
    effects = ask(up(), small(1), 1.0)
    assert isinstance(effects[0], WritePacing)
    assert isinstance(effects[1], Send)
    assert [(w.limit, len(w.sent)) for w in read(effects[0].value).windows] == [
        ("small_bars", 1),
        ("same_contract", 1),
        ("identical", 1),
    ]


def test_what_counts_for_seconds_only_is_not_written() -> None:
    pacing = up()
    assert written(ask(pacing, level1(1), 1.0)) is None
    assert written(ask(pacing, big(2), 1.0)) is None
    assert pacing.next_wakeup_s() is None


def test_whatever_counts_for_long_is_written_before_it_leaves() -> None:
    pacing = up()
    for n in range(5):
        assert written(ask(pacing, small(n, con_id=n), 1.0)) is not None
        assert written(ask(pacing, by_tick(n, con_id=n), 1.0)) is not None
    assert pacing.next_wakeup_s() is None


def test_if_so_set_it_is_written_once_a_second_and_the_last_change_too() -> None:
    pacing = up(LATER)
    assert written(ask(pacing, by_tick(1, 1), 1.0)) is not None
    assert [written(ask(pacing, by_tick(n, n), 1.0 + n / 100)) for n in range(2, 20)] == [None] * 18
    assert pacing.next_wakeup_s() == 2.0
    assert len(read(written(pacing.handle(WakeUp(), at(2.0)))).windows) == 19
    assert pacing.next_wakeup_s() is None


def test_no_more_small_bar_requests_leave_unwritten_than_a_restart_allows_for() -> None:
    pacing = up(PacingConfig(unsaved_max=3))
    writes = [written(ask(pacing, small(n, con_id=n), 1.0)) is not None for n in range(9)]
    assert writes == [True, False, False, False, True, False, False, False, True]


def test_it_is_written_while_no_connection_is_up() -> None:
    pacing = up(LATER)
    ask(pacing, small(1), 1.0)
    ask(pacing, small(2), 1.5)
    pacing.handle(SessionDown(1, ns(1.6), "disconnect", "x"), at(1.6))
    assert pacing.next_wakeup_s() == 2.0
    assert written(pacing.handle(WakeUp(), at(2.0))) is not None


def test_a_stop_writes_that_nothing_more_follows_and_only_if_there_is_something_to_say() -> None:
    assert written(up().handle(Stop(), at(1.0))) is None
    pacing = up(LATER)
    assert read(written(ask(pacing, small(1), 1.0))).ahead == 40
    assert read(written(pacing.handle(Stop(), at(1.1)))).ahead == 0


def test_what_redis_forgot_is_written_again() -> None:
    pacing = up()
    ask(pacing, small(1), 1.0)
    assert len(read(written(pacing.handle(RedisForgot(), at(1.1)))).windows) == 3


# ---- restarts


def killed(count: int, *, stop: bool, unsaved_max: int = 0) -> bytes:
    """What a process had written that sent so many small-bar requests at 1.0 and ended there."""
    pacing = up(PacingConfig(lines=1000, open_max=100, unsaved_max=unsaved_max))
    value = b""
    for n in range(count):
        value = written(ask(pacing, small(n, con_id=n), 1.0)) or value
    return (written(pacing.handle(Stop(), at(1.0))) if stop else None) or value


def room_left(value: bytes, s: float) -> int:
    pacing = up(s=s, value=value)
    return sum(went(ask(pacing, small(1000 + n, con_id=1000 + n), s)) for n in range(45))


def test_a_restart_goes_on_counting_where_the_last_process_ended() -> None:
    assert room_left(killed(30, stop=True), 20.0) == 30
    assert room_left(killed(30, stop=True), 601.5) == 45


def test_after_a_kill_what_may_have_left_unwritten_is_counted_too() -> None:
    assert room_left(killed(30, stop=False), 20.0) == 30
    # 29 are written, and 3 more may have left: three did.
    assert room_left(killed(32, stop=False, unsaved_max=3), 20.0) == 60 - 29 - 3


def test_an_identical_request_still_waits_after_a_restart() -> None:
    pacing = up(s=5.0, value=killed(1, stop=True))
    assert not went(ask(pacing, small(0, con_id=0), 5.0))
    assert not went(pacing.handle(WakeUp(), at(16.4)))
    assert went(pacing.handle(WakeUp(), at(16.5)))


def test_monotonic_time_starts_anew_with_the_process_and_utc_does_not() -> None:
    pacing = PacingCore(PacingConfig())
    now = Instant(7.0, START_NS + 11_000_000_000)
    pacing.handle(RestorePacing(killed(60, stop=True)), now)
    pacing.handle(SessionUp(1, 200), now)
    pacing.handle(Enqueue(small(100, con_id=100)), now)
    assert pacing.next_wakeup_s() == pytest.approx(7.0 + 590.5)


def test_a_clock_set_back_makes_what_was_sent_count_from_now() -> None:
    pacing = PacingCore(PacingConfig())
    now = Instant(50.0, START_NS - 86_400 * 10**9)
    pacing.handle(RestorePacing(killed(60, stop=True)), now)
    pacing.handle(SessionUp(1, 200), now)
    pacing.handle(Enqueue(small(100, con_id=100)), now)
    assert pacing.next_wakeup_s() == pytest.approx(650.5)


def test_what_is_restored_joins_what_was_sent_since() -> None:
    value = killed(30, stop=True)
    pacing = up(s=20.0)
    for n in range(30):
        ask(pacing, small(1000 + n, con_id=1000 + n), 20.0)
    pacing.handle(RestorePacing(value), at(21.0))
    assert not went(ask(pacing, small(2000, con_id=2000), 21.0))
    assert pacing.status(at(21.0))["waiting"] == 1
    assert went(pacing.handle(WakeUp(), at(601.5)))


@pytest.mark.parametrize(
    "value", [b"nonsense", b"{}", b'{"version":9,"at_ns":0,"ahead":0,"windows":[],"cooldowns":[]}']
)
def test_what_cannot_be_read_is_said_and_nothing_else_is_lost(value: bytes) -> None:
    pacing = PacingCore(PacingConfig())
    assert said(pacing.handle(RestorePacing(value), at(0))) == ["memory_unreadable"]
    pacing.handle(SessionUp(1, 200), at(0))
    assert went(ask(pacing, small(1), 0.0))


def test_limits_that_are_not_known_any_more_are_passed_over() -> None:
    value = b'{"version":1,"at_ns":0,"ahead":0,"windows":[["gone","x",[[0,1]]]],"cooldowns":[["gone",99,1]]}'
    assert went(ask(up(value=value), small(1), 0.0))


def test_a_cooldown_survives_a_restart_and_so_does_how_often_it_was_needed() -> None:
    value = written(up().handle(PacingViolated(13), at(1.0)))
    assert value is not None
    after = up(s=101.0, value=value)
    assert not went(ask(after, small(1), 101.0))
    assert went(after.handle(WakeUp(), at(601.5)))
    after.handle(PacingViolated(13), at(602.0))
    assert after.status(at(602.0))["cooldowns"] == [{"scope": "small_bars", "remains_s": 1200.5, "violations": 2}]


def test_a_cooldown_that_was_cleared_does_not_come_back() -> None:
    pacing = up()
    pacing.handle(PacingViolated(13), at(1.0))
    value = written(pacing.handle(ClearCooldowns(ref()), at(1.1)))
    assert value is not None
    assert went(ask(up(s=2.0, value=value), small(1), 2.0))


@seed(20261122)
@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0.01, 30.0), st.booleans()), min_size=1, max_size=8), st.floats(0, 1))
def test_however_often_it_is_killed_no_limit_is_exceeded(kills: list[tuple[float, bool]], delay: float) -> None:
    config = PacingConfig(lines=8, small_bars_count=6, small_bars_window_s=30.0)
    whole = IB(config)
    value, now_s, n = b"", 0.0, 0
    for alive_s, stop in [*kills, (100.0, True)]:
        ib = IB(config)
        ib.now_s = now_s
        ib.pacing = PacingCore(config)
        ib.pacing.handle(RestorePacing(value), at(now_s))
        ib.pacing.handle(SessionUp(1, 200), at(now_s))
        for _ in range(8):
            n += 1
            # The same windows of time are asked for again after each kill.
            ib.ask(now_s + n % 3 * 0.3, small(n, con_id=n % 2, end=f"t{n % 8}"))
        ib.run(now_s + alive_s)
        now_s = ib.now_s
        if stop:
            ib.tell(Stop())
        value = ib.value or value
        whole.log += ib.log
        # A new process and its handshake take a second; the message rate is the connection's and starts anew.
        now_s += 1.1
    whole.judge([0.0, delay])
