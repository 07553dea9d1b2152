"""Turns of a chain's members: the nearest keep their lines, the others go round, and nobody waits for ever."""

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_actor.core.chains.turns import Turns, TurnsConfig

CONFIG = TurnsConfig(waiting_max=3, delay_s=0.1, retries_max=2, backoff=2.0, turn_min_s=1.0, turn_max_s=5.0)


def step(turns: Turns, cap: int, now_s: float, *, answers: bool = True) -> list[int]:
    """What the feed does at one look: lines given up, then taken; IB answers at once. Returns who was asked."""
    for key in turns.over(cap, now_s):
        turns.drop(key, now_s)
    asked: list[int] = []
    while (chosen := turns.next(now_s)) is not None:
        turns.ask(chosen, now_s)
        turns.sent(chosen, now_s)
        asked.append(chosen)
        if answers:
            turns.asked[chosen].heard = turns.asked[chosen].complete = True
    assert len(turns.asked) <= cap
    return asked


def run(turns: Turns, cap: int, until_s: float, now_s: float = 0.0, *, answers: bool = True) -> dict[int, list[float]]:
    """Looks whenever `next_s` says; when each member was asked."""
    times: dict[int, list[float]] = {}
    while now_s <= until_s:
        for key in step(turns, cap, now_s, answers=answers):
            times.setdefault(key, []).append(now_s)
        next_s = turns.next_s(now_s)
        if next_s is None:
            break
        assert next_s > now_s
        now_s = next_s
    return times


def test_all_have_a_line_when_there_are_enough() -> None:
    turns = Turns(CONFIG)
    turns.lay([1, 2, 3])
    times = run(turns, 3, 100.0)
    assert set(turns.asked) == {1, 2, 3}
    assert {key: len(at) for key, at in times.items()} == {1: 1, 2: 1, 3: 1}
    assert turns.rotation_s == 0.0


def test_with_fewer_lines_the_nearest_stay_and_the_others_take_turns() -> None:
    turns = Turns(CONFIG)
    turns.lay(range(10))
    times = run(turns, 4, 60.0)
    assert {0, 1} <= set(turns.asked)
    assert [len(times[key]) for key in (0, 1)] == [1, 1]
    assert min(len(times[key]) for key in range(2, 10)) > 5
    gaps = [b - a for at in times.values() for a, b in itertools.pairwise(at)]
    assert turns.rotation_s is not None
    assert max(gaps) <= turns.rotation_s


def test_silent_members_end_their_turns_after_a_while_and_hold_up_nobody_for_long() -> None:
    turns = Turns(CONFIG)
    turns.lay(range(8))
    times = run(turns, 4, 60.0, answers=False)
    assert set(times) == set(range(8))
    assert turns.rotation_s is not None
    assert all(at[0] <= 2 * turns.rotation_s for at in times.values())


def test_a_refused_member_rests_ever_longer_and_is_given_up_in_the_end() -> None:
    turns = Turns(CONFIG)
    turns.lay([1])
    now_s = 0.0
    waits = []
    for _ in range(3):
        assert step(turns, 1, now_s) == [1]
        stays = turns.refuse(1, now_s)
        next_s = turns.next_s(now_s)
        assert next_s is not None
        waits.append(next_s - now_s)
        now_s = next_s
    assert waits == [2.0, 4.0, 8.0]
    assert not stays


def test_those_far_from_the_price_give_up_their_lines_first() -> None:
    turns = Turns(CONFIG)
    turns.lay([5, 3, 4, 1])
    run(turns, 4, 10.0)
    assert turns.yielded(2) == [1, 4]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(
        st.tuples(st.sampled_from(["time", "lay", "cap", "refuse", "lost"]), st.integers(0, 30), st.floats(0.05, 3.0)),
        max_size=60,
    ),
)
def test_lines_in_use_never_exceed_the_budget(cap: int, moves: list[tuple[str, int, float]]) -> None:
    turns = Turns(CONFIG)
    turns.lay(range(20))
    now_s = 0.0
    for move, number, wait_s in moves:
        match move:
            case "lay":
                for key in turns.lay([(number + n) % 31 for n in range(1 + number)]):
                    turns.drop(key, now_s)
            case "cap":
                cap = number
            case "refuse":
                for key in list(turns.asked)[:1]:
                    turns.refuse(key, now_s, counts=bool(number % 2))
            case "lost":
                turns.lost()
        now_s += wait_s
        step(turns, cap, now_s, answers=number % 3 != 0)
        assert len(turns.asked) <= cap
        assert set(turns.asked) <= set(turns.order())
        waiting = sum(not turn.heard for turn in turns.asked.values())
        assert waiting <= cap
        next_s = turns.next_s(now_s)
        assert next_s is None or now_s < next_s < math.inf


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 30), st.lists(st.permutations(range(12)), max_size=4))
def test_every_member_is_sampled_within_the_bound_whatever_the_price_does(
    cap: int, members: int, orders: list[list[int]]
) -> None:
    turns = Turns(CONFIG)
    turns.lay(range(members))
    seen: dict[int, float] = {}
    now_s = 0.0
    for order in [*orders, list(range(12))]:
        # The price moves: the same members, in another order of nearness.
        turns.lay(sorted(range(members), key=lambda key: order[key % 12]))
        turns.over(cap, now_s)
        bound_s = turns.rotation_s
        assert bound_s is not None
        seen = {}
        until_s = now_s + bound_s + CONFIG.turn_max_s + members * CONFIG.delay_s
        while now_s <= until_s:
            for key in step(turns, cap, now_s):
                seen.setdefault(key, now_s)
            seen.update({key: now_s for key in turns.asked if key not in seen})
            now_s = turns.next_s(now_s) or until_s + 0.001
        assert set(seen) == set(range(members))
