from __future__ import annotations

import typing

import pytest

from ibkr_actor.core.codes.meaning import ROWS, lookup
from ibkr_actor.core.codes.row import Effect
from ibkr_actor.schema.commands import Code

# Every code the project knows of, by what it does to the request or connection that it names.
EXPECTED: dict[str, list[int]] = {
    "slow_down": [100],
    "next_client_id": [326],
    "upstream_down": [1100, 2110],
    "upstream_up": [1102],
    "data_lost": [1101],
    "reconnect": [357, 502, 504, 506, 507, 508, 10038],
    "move_port": [1300],
    "farm_down": [2103, 2105, 2157],
    "farm_up": [2104, 2106, 2158],
    "farm_idle": [2107, 2108],
    "farm_connecting": [2119],
    "keep": [2152, 10090, 10167],
    "empty": [317],
    "prove": [10089, 10091],
    "starve": [10197],
    "resubscribe": [316, 10225],
    "new_id": [102, 322, 385, 386],
    "retry": [*range(509, 579), *range(580, 590), 10182],
    "note": [
        103, 165, 201, 300, 310, 366, 492, 501, 505, 2100, 2101, 2102, 2109, 2127, 2137, 2150, 2168, 2169, 10147, 10148,
    ],
    "fail": [
        101, 162, 166, 200, 203, 309, 320, 321, 354, 391, 406, 414, 420, 430, 503, 579, 10092, 10168, 10172, 10186,
        10187, 10189, 10190, *range(10276, 10286), 10295, 10299, 10300, 10301, 10314, 10330, 10337, 10338, 10339, 10346,
    ],
}  # fmt: skip


def test_each_code_does_what_is_written_down_for_it() -> None:
    found: dict[str, list[int]] = {}
    for code, row in sorted(ROWS.items()):
        assert row.code == code
        found.setdefault(row.effect, []).append(code)
    assert found == {effect: sorted(codes) for effect, codes in EXPECTED.items()}


def test_every_effect_has_a_code() -> None:
    assert set(EXPECTED) == set(typing.get_args(Effect))


@pytest.mark.parametrize(
    ("code", "rejection", "retryable"),
    [
        (101, "line_limit", True),
        (10190, "line_limit", True),
        (200, "invalid_instrument", False),
        (579, "invalid_instrument", False),
        (354, "permissions_missing", False),
        (10168, "permissions_missing", False),
        (10189, "permissions_missing", True),
        (10197, "competing_session", True),
        (321, "validation_error", False),
        (504, "connection_failed", True),
    ],
)
def test_who_waits_hears_the_canonical_error(code: int, rejection: Code, retryable: bool) -> None:
    row = lookup(code, 12)
    assert (row.rejection, row.retryable) == (rejection, retryable)


def test_whatever_fails_a_request_has_a_rejection_and_a_retryable_one_a_time() -> None:
    codes = typing.get_args(Code)
    for row in ROWS.values():
        if row.effect in ("fail", "prove", "starve", "new_id"):
            assert row.rejection in codes, row
        if row.effect == "fail" and row.retryable:
            assert row.retry_after_s, row
        assert row.meaning, row


@pytest.mark.parametrize("code", [2100, 2111, 2160, 2169, 2176])
def test_a_notice_never_ends_a_request_known_or_not(code: int) -> None:
    assert not lookup(code, 12).ends_request


@pytest.mark.parametrize("code", [10167, 10089, 10090, 10091, 10197, 2152, 317, 300])
def test_these_never_end_a_request_by_themselves(code: int) -> None:
    assert not lookup(code, 12).ends_request


def test_an_unknown_code_ends_the_request_it_names_and_no_connection() -> None:
    row = lookup(98765, 12)
    assert (row.effect, row.rejection, row.retryable) == ("fail", "internal", False)
    assert lookup(98765, -1).effect == "note"
