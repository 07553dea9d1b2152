from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_actor.core.deadlines import Deadlines


def test_keys_become_due_in_the_order_of_their_times() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("b", 2.0)
    deadlines.set("a", 1.0)
    deadlines.set("c", 3.0)
    assert deadlines.next_s() == 1.0
    assert deadlines.due(0.9) == []
    assert deadlines.due(2.0) == ["a", "b"]
    assert deadlines.next_s() == 3.0


def test_a_key_moved_later_is_due_at_its_new_time_only() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("a", 1.0)
    deadlines.set("a", 5.0)
    assert deadlines.next_s() == 5.0
    assert deadlines.due(4.0) == []
    assert deadlines.due(5.0) == ["a"]


def test_a_cleared_key_is_never_due() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("a", 1.0)
    deadlines.clear("a")
    assert "a" not in deadlines
    assert deadlines.next_s() is None
    assert deadlines.due(9.0) == []


def test_moving_and_clearing_keys_leaves_no_litter() -> None:
    deadlines = Deadlines[int]()
    for turn in range(1000):
        deadlines.set(turn, 1000.0)
        deadlines.clear(turn)
    for turn in range(1000):
        deadlines.set(-1, 1000.0 + turn)
    assert len(deadlines) == 1
    assert len(deadlines._heap) < 200


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 9)), max_size=30), st.integers(0, 9))
def test_it_agrees_with_a_plain_dictionary(steps: list[tuple[int, int | None]], now: int) -> None:
    deadlines, plain = Deadlines[int](), dict[int, int]()
    for key, at_s in steps:
        if at_s is None:
            deadlines.clear(key)
            plain.pop(key, None)
        else:
            deadlines.set(key, at_s)
            plain[key] = at_s
        assert deadlines.next_s() == min(plain.values(), default=None)
    due = deadlines.due(now)
    assert sorted(due) == sorted(key for key, at_s in plain.items() if at_s <= now)
    assert [plain[key] for key in due] == sorted(plain[key] for key in due)
