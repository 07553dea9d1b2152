from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.tws.numbers import UNSET_SIZES, SizesOfBytes, SizesOfText, plain_size, price_or_none

SPELLINGS = [
    ("100", "100"),
    ("0", "0"),
    ("10800.0", "10800"),
    ("1E-7", "0.0000001"),
    ("1E+3", "1000"),
    ("007", "7"),
    ("00", "0"),
    ("-0.0", "0"),
    ("+5", "5"),
    ("-12.50", "-12.5"),
    ("0.10", "0.1"),
    ("123456789", "123456789"),
    ("1234567890123456789012345678.9", "1234567890123456789012345678.9"),
    ("", None),
    ("2147483647", None),
    ("2147483647.0", None),
    ("9223372036854775807", None),
    ("-9223372036854775808", None),
    ("1.7976931348623157E308", None),
    ("1.7976931348623157e+308", None),
    (str(2**127 - 1), None),
    ("Infinity", None),
    ("NaN", None),
    ("2147483646", "2147483646"),
    ("2147483648", "2147483648"),
]


@pytest.mark.parametrize("times", [1, 2], ids=["first time", "from the cache"])
@pytest.mark.parametrize(("raw", "plain"), SPELLINGS)
def test_a_size_is_the_shortest_plain_decimal_and_sentinels_are_none(raw: str, plain: str | None, times: int) -> None:
    texts, raws = SizesOfText(), SizesOfBytes()
    for _ in range(times):
        assert plain_size(raw) == plain
        assert texts[raw] == plain
        assert raws[raw.encode()] == plain


@pytest.mark.parametrize("raw", ["abc", "1.2.3", "--1", "1" * 401, "1E500", "1E-500", "1E999999999", "\u0661\u0662x"])
def test_what_is_no_size_is_an_error_and_not_a_gigabyte_of_zeros(raw: str) -> None:
    with pytest.raises(ValueError, match="size"):
        SizesOfText()[raw]


def test_digits_of_other_scripts_become_ascii_digits() -> None:
    assert SizesOfText()["\u0661\u0662"] == "12"


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30).filter(
        lambda value: value not in UNSET_SIZES
    )
)
def test_every_decimal_keeps_its_value_and_loses_its_exponent(value: Decimal) -> None:
    plain = plain_size(str(value))
    assert plain is not None
    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", plain)
    assert Decimal(plain) == value


def test_the_remembered_sizes_are_bounded() -> None:
    sizes = SizesOfText()
    for number in range(40_000):
        assert sizes[str(number)] == str(number)
    assert len(sizes) <= 16_384


@pytest.mark.parametrize("value", [1.7976931348623157e308, float("inf"), float("-inf"), float("nan")])
def test_a_value_that_is_no_price_is_none(value: float) -> None:
    assert price_or_none(value) is None


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9, 1e301, -1e301])
def test_every_other_price_stays(value: float) -> None:
    assert price_or_none(value) == value
