from __future__ import annotations

import pytest

from ibkr_actor.core.history.durations import Duration, candidates, caps, legacy_caps, new_caps
from ibkr_actor.core.history.resolutions import RESOLUTIONS, resolution


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1s", {"S": 2000}),
        ("5s", {"S": 86_400, "D": 365}),
        ("10s", {"S": 86_400, "D": 365, "W": 52}),
        ("30s", {"S": 86_400, "D": 365, "W": 52, "M": 12}),
        ("1m", {"S": 86_400, "D": 365, "W": 52, "M": 12, "Y": 68}),
        ("5m", {"D": 365, "W": 52, "M": 12, "Y": 68}),
        ("1h", {"D": 365, "W": 52, "M": 12, "Y": 68}),
        ("4h", {"W": 52, "M": 12, "Y": 68}),
        ("8h", {"M": 12, "Y": 68}),
        ("1d", {"Y": 68}),
        ("1w", {"Y": 68}),
        ("1M", {"Y": 68}),
    ],
)
def test_the_new_tables_say_what_one_request_may_reach(name: str, expected: dict[str, int]) -> None:
    assert new_caps(resolution(name)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1s", {"S": 1800}),
        ("5s", {"S": 3600}),
        ("30s", {"S": 28_800}),
        ("1m", {"S": 28_800, "D": 1}),
        ("3m", {"S": 28_800, "D": 2, "W": 1}),
        ("1h", {"S": 28_800, "D": 2, "W": 1, "M": 1}),
        ("1d", {"D": 2, "W": 1, "M": 1, "Y": 1}),
        ("1w", {"W": 1, "M": 1, "Y": 1}),
        ("1M", {"M": 1, "Y": 1}),
    ],
)
def test_the_legacy_table_says_less(name: str, expected: dict[str, int]) -> None:
    assert legacy_caps(resolution(name)) == expected


def test_a_refused_duration_falls_back_to_the_legacy_count_of_its_unit() -> None:
    assert caps(resolution("5s"), [Duration(300, "D")]) == {"S": 86_400}
    assert caps(resolution("5s"), [Duration(300, "D"), Duration(40_000, "S")]) == {"S": 3600}
    assert caps(resolution("1m"), [Duration(10, "D")])["D"] == 1
    assert caps(resolution("1d"), [Duration(3, "Y")]) == {"Y": 1}


def test_the_legacy_tables_other_units_follow_when_the_new_tables_have_nothing_left() -> None:
    assert caps(resolution("1d"), [Duration(3, "Y"), Duration(1, "Y")]) == {"D": 2, "W": 1, "M": 1}


@pytest.mark.parametrize("name", RESOLUTIONS)
def test_refusing_whatever_is_asked_comes_to_an_end_and_never_repeats(name: str) -> None:
    refused: list[Duration] = []
    while left := caps(resolution(name), refused):
        unit, count = next(iter(left.items()))
        assert all(count < each.count for each in refused if each.unit == unit)
        refused.append(Duration(count, unit))
    assert 2 <= len(refused) <= 10


@pytest.mark.parametrize("name", RESOLUTIONS)
def test_candidates_begin_with_the_longest_of_the_new_tables_and_go_down_to_the_legacy_one(name: str) -> None:
    found = candidates(resolution(name))
    new, legacy = new_caps(resolution(name)), legacy_caps(resolution(name))
    assert found[0].nominal_s == max(Duration(count, unit).nominal_s for unit, count in new.items())
    assert found[-1].count <= legacy[found[-1].unit]
    assert {each.unit for each in found} == {*new, *legacy}


def test_candidates_are_no_longer_than_what_is_wanted() -> None:
    assert [each.text for each in candidates(resolution("5s"), 3 * 86_400)] == ["3 D", "86400 S", "3600 S"]
    assert [each.text for each in candidates(resolution("1s"), 600)] == ["600 S"]
