"""Owns how IB codes, our rejections and Python's own exceptions become market-data-core's canonical errors.

Decides nothing of when to try again; never looks at IB's text where a code is enough.
"""

from __future__ import annotations

import math
from typing import Any, Final

from market_data_core import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    FarmTransient,
    InvalidInstrument,
    MarketDataError,
    NonRetryableProviderError,
    PacingViolation,
    PermissionsMissing,
    RetryableProviderError,
    TemporaryUnavailable,
    ValidationError,
)
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from ibkr_actor.core.codes.meaning import NOTICES, ROWS
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.history.errors import HISTORICAL_ERROR, PACING_REST_S, judge
from ibkr_actor.core.requests import ReqCurrentTime
from ibkr_actor.errors import ConfigurationError as OurConfigurationError
from ibkr_actor.schema.commands import Rejection

_CLASS_OF: Final[dict[str, type[MarketDataError]]] = {
    "pacing_violation": PacingViolation,
    "permissions_missing": PermissionsMissing,
    "invalid_instrument": InvalidInstrument,
    "ambiguous_instrument": InvalidInstrument,
    "connection_failed": ConnectionFailed,
    "farm_transient": FarmTransient,
    # The replaced provider promises a PacingViolation for too many subscriptions.
    "line_limit": PacingViolation,
    "competing_session": TemporaryUnavailable,
    "validation_error": ValidationError,
    "busy": TemporaryUnavailable,
    "expired": TemporaryUnavailable,
    "unsupported": NonRetryableProviderError,
    "configuration_error": ConfigurationError,
    "internal": RetryableProviderError,
}
_REAL_TIME_QUERY: Final = 420


def _class_of_code(code: int) -> type[MarketDataError] | None:
    row = ROWS[code]
    if row.effect in ("farm_down",) or code == 2110:
        return FarmTransient
    return None if row.rejection is None else _CLASS_OF[row.rejection]


# IB code -> the error it is; None for a notice, which is none. 162 is not here: IB says five things with it.
# 420 is what the replaced map says, unless its text is about permissions.
ERROR_CODE_MAP: Final[dict[int, type[MarketDataError] | None]] = {
    code: _class_of_code(code) for code in ROWS if code != HISTORICAL_ERROR
} | {_REAL_TIME_QUERY: PacingViolation}


def map_ibkr_error(code: int, message: str) -> MarketDataError | None:
    """The canonical error of an IB code; None for what is no error. `code` of the error is `IBKR_<code>`."""
    if code in (HISTORICAL_ERROR, _REAL_TIME_QUERY):
        return _by_words(code, message)
    if code not in ERROR_CODE_MAP:
        return None if code in NOTICES else RetryableProviderError(f"IBKR {code}: {message}", code=f"IBKR_{code}")
    kind = ERROR_CODE_MAP[code]
    if kind is None:
        return None
    return _made(kind, message, f"IBKR_{code}", retry_after_s=ROWS[code].retry_after_s, scope=_scope(code))


def _by_words(code: int, message: str) -> MarketDataError | None:
    """162 is a pacing violation, a missing permission, no data, a duration too long, or a cancel: by its words.

    420 says nearly the same of real-time queries.
    """
    notice = ErrorNotice(conn=0, received_ns=0, req_id=0, code=HISTORICAL_ERROR, message=message)
    judged = judge(notice, ReqCurrentTime(0))
    if code == _REAL_TIME_QUERY:
        if judged.reason == "no_permission":
            return PermissionsMissing(message, code="IBKR_420")
        return _made(PacingViolation, message, "IBKR_420", retry_after_s=PACING_REST_S, scope="realtime")
    if judged.reason == "cancelled":
        return None
    if judged.verdict == "unclear":
        return RetryableProviderError(message, code="IBKR_162")
    rejection = judged.rejection
    kind = _CLASS_OF[rejection.code]
    return _made(kind, message, "IBKR_162", retry_after_s=rejection.retry_after_s, scope="historical")


def _scope(code: int) -> str:
    return "lines" if ROWS[code].rejection == "line_limit" else "messages"


def from_rejection(rejection: Rejection, *, scope: str = "") -> MarketDataError:
    """The canonical error of a sidecar's refusal. `details` hold our code, IB's, and the candidates of a name."""
    kind = _CLASS_OF.get(rejection.code, RetryableProviderError)
    if kind is RetryableProviderError and not rejection.retryable:
        kind = NonRetryableProviderError
    code = f"IBKR_{rejection.ib_code}" if rejection.ib_code is not None else rejection.code.upper()
    if rejection.code == "line_limit":
        scope = "lines"
    error = _made(kind, rejection.message, code, retry_after_s=rejection.retry_after_s, scope=scope)
    error.details |= {"code": rejection.code, "ib_code": rejection.ib_code}
    if rejection.candidates:
        error.details["candidates"] = [candidate.instrument for candidate in rejection.candidates]
    return error


def _made(
    kind: type[MarketDataError], message: str, code: str, *, retry_after_s: float | None, scope: str
) -> MarketDataError:
    if issubclass(kind, PacingViolation):
        after = None if retry_after_s is None else math.ceil(retry_after_s)
        return kind(message, retry_after_sec=after, scope=scope or None, code=code)
    error = kind(message, code=code)
    if retry_after_s is not None:
        error.details["retry_after_s"] = retry_after_s
    return error


def handle_ib_error(error: BaseException) -> MarketDataError:
    """The canonical error of any exception. One that is canonical already is returned as it is."""
    if isinstance(error, MarketDataError):
        return error
    rejection = getattr(error, "rejection", None)
    if isinstance(rejection, Rejection):
        return from_rejection(rejection)
    known = _of_ours(error)
    if known is not None:
        return known
    code: Any = getattr(error, "code", None) or getattr(error, "errorCode", None)
    if isinstance(code, int) and not isinstance(code, bool):
        mapped = map_ibkr_error(code, str(error))
        if mapped is not None:
            return mapped
    return RetryableProviderError(str(error) or type(error).__name__, code=type(error).__name__)


def _of_ours(error: BaseException) -> MarketDataError | None:
    """What the connection to the sidecar or to the gateway may raise."""
    match error:
        case OurConfigurationError():
            return ConfigurationError(str(error))
        case AuthenticationError() | NoPermissionError():
            return AuthenticationFailed(f"Redis: {error}", code="REDIS")
        case RedisError():
            return ConnectionFailed(f"Redis does not answer: {error}", code="REDIS")
        case OSError():
            return ConnectionFailed(str(error), code=type(error).__name__)
    return None
