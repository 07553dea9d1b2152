"""Codes, refusals and exceptions become the canonical errors, in any language of TWS."""

import market_data_core as core
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from ibkr_actor.client.errors import ERRORS, NoAnswer
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.provider import ERROR_CODE_MAP, handle_ib_error, map_ibkr_error
from ibkr_actor.provider.errors import from_rejection
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.instruments import Contract

HMDS = "Historical Market Data Service error message:"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (420, core.PacingViolation),
        (200, core.InvalidInstrument),
        (354, core.PermissionsMissing),
        (504, core.ConnectionFailed),
        (1100, core.ConnectionFailed),
        (2110, core.FarmTransient),
        (2103, core.FarmTransient),
        (100, core.PacingViolation),
        (101, core.PacingViolation),
        (10197, core.TemporaryUnavailable),
        (321, core.ValidationError),
        (99999, core.RetryableProviderError),
    ],
)
def test_a_code_has_its_class_and_says_which_it_was(code: int, kind: type[core.MarketDataError]) -> None:
    error = map_ibkr_error(code, "what IB says")
    assert type(error) is kind
    assert error.code == f"IBKR_{code}"
    assert "what IB says" in error.message


@pytest.mark.parametrize("code", [2104, 2106, 2107, 2108, 2119, 2158, 1101, 1102, 10167, 10090, 2176])
def test_a_notice_is_no_error(code: int) -> None:
    assert map_ibkr_error(code, "all is well") is None


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (f"{HMDS}Historical data request pacing violation", core.PacingViolation),
        ("Mensaje de error: infracción de ritmo en la solicitud de datos", core.PacingViolation),
        (f"{HMDS}No market data permissions for NYSE STK", core.PermissionsMissing),
        (f"{HMDS}HMDS query returned no data: AAPL@SMART Trades", core.InvalidInstrument),
        (f"{HMDS}Time length exceed max.", core.ValidationError),
        (f"{HMDS}something else", core.RetryableProviderError),
    ],
)
def test_162_is_told_apart_by_words_in_more_languages_than_one(message: str, kind: type[core.MarketDataError]) -> None:
    error = map_ibkr_error(162, message)
    assert type(error) is kind
    assert error.code == "IBKR_162"
    if isinstance(error, core.PacingViolation):
        assert (error.retry_after_sec, error.scope) == (600, "historical")


def test_a_cancelled_historical_request_is_no_error_and_420_may_be_a_permission() -> None:
    assert map_ibkr_error(162, f"{HMDS}API historical data query cancelled: 7") is None
    refused = map_ibkr_error(420, "Invalid Real-time Query:No market data permissions for ISLAND STK")
    assert type(refused) is core.PermissionsMissing


def test_the_map_has_every_code_of_the_replaced_one() -> None:
    assert {code: ERROR_CODE_MAP[code] for code in (2104, 420, 200, 354, 504, 1100, 2110)} == {
        2104: None,
        420: core.PacingViolation,
        200: core.InvalidInstrument,
        354: core.PermissionsMissing,
        504: core.ConnectionFailed,
        1100: core.ConnectionFailed,
        2110: core.FarmTransient,
    }
    assert 162 not in ERROR_CODE_MAP


def test_every_refusal_has_a_canonical_class_and_keeps_what_is_known() -> None:
    for code, kind in ERRORS.items():
        error = handle_ib_error(kind(Rejection(code, "why", 10, True, 2.5)))
        assert isinstance(error, core.MarketDataError)
        assert error.message == "why"
        assert (error.details["code"], error.details["ib_code"]) == (code, 10)
        assert error.code == "IBKR_10"
    pacing = from_rejection(Rejection("pacing_violation", "slow", None, True, 2.5), scope="hist_AAPL")
    assert isinstance(pacing, core.PacingViolation)
    assert (pacing.retry_after_sec, pacing.scope, pacing.code) == (3, "hist_AAPL", "PACING_VIOLATION")
    lines = from_rejection(Rejection("line_limit", "all taken", 101, True, 60.0))
    assert isinstance(lines, core.PacingViolation)
    assert (lines.retry_after_sec, lines.scope) == (60, "lines")


def test_an_ambiguous_name_comes_with_what_it_may_mean() -> None:
    contract = Contract(1, "ES", "FUT", "CME", "USD", "ES.FUT.CME.USD.20261218.ES")
    error = from_rejection(Rejection("ambiguous_instrument", "several", candidates=[contract]))
    assert isinstance(error, core.InvalidInstrument)
    assert error.details["candidates"] == ["ES.FUT.CME.USD.20261218.ES"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(111, "Connection refused"), core.ConnectionFailed),
        (TimeoutError("late"), core.ConnectionFailed),
        (RedisConnectionError("away"), core.ConnectionFailed),
        (NoAnswer("nobody"), core.ConnectionFailed),
        (ConfigurationError("IBKR_PORT"), core.ConfigurationError),
        (RuntimeError("boom"), core.RetryableProviderError),
    ],
)
def test_any_exception_becomes_one_that_says_what_it_was(error: Exception, kind: type[core.MarketDataError]) -> None:
    canonical = handle_ib_error(error)
    assert type(canonical) is kind
    assert canonical.code != "IBKR_None"


def test_an_exception_with_ibs_code_is_mapped_by_it() -> None:
    class RequestError(Exception):
        code = 354

    assert type(handle_ib_error(RequestError("not subscribed"))) is core.PermissionsMissing
