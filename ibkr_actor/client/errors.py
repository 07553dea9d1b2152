"""The canonical errors: one class for each code a command may be refused with, and one for no answer at all.

Converts a rejection into its exception; decides nothing about retries.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ibkr_actor.schema.commands import Code, Rejection
from ibkr_actor.schema.instruments import Contract


class MarketDataError(Exception):
    """A refusal. `code` is the code of the contract, `ib_code` IB's own if one was the reason.

    `retryable` says whether the same may succeed later, and `retry_after_s` when it makes sense to try.
    `candidates` are the contracts that an ambiguous instrument may mean.
    """

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection)
        self.rejection = rejection

    def __str__(self) -> str:
        return f"{self.rejection.code}: {self.rejection.message}"

    @property
    def code(self) -> Code:
        return self.rejection.code

    @property
    def message(self) -> str:
        """One sentence, without the code."""
        return self.rejection.message

    @property
    def ib_code(self) -> int | None:
        return self.rejection.ib_code

    @property
    def retryable(self) -> bool:
        return self.rejection.retryable

    @property
    def retry_after_s(self) -> float | None:
        return self.rejection.retry_after_s

    @property
    def candidates(self) -> list[Contract]:
        return self.rejection.candidates or []


class Retryable(MarketDataError):
    """What may pass by itself."""


class NonRetryable(MarketDataError):
    """What stays as it is until somebody changes something."""


class PacingViolation(Retryable):
    """IB refused for pacing."""


class FarmTransient(Retryable):
    """IB did not answer in time, or one of its farms is away."""


class ConnectionFailed(Retryable):
    """There was no connection to IB within the time."""


class NoAnswer(ConnectionFailed, TimeoutError):
    """No sidecar answered in time; the command may still be done later."""

    def __init__(self, message: str) -> None:
        super().__init__(Rejection("connection_failed", message, retryable=True))

    def __str__(self) -> str:
        return self.message


class Busy(Retryable):
    """Too much is waiting."""


class LineLimit(Retryable):
    """No market data line, or no tick-by-tick line, is free."""


class CompetingSession(Retryable):
    """Another session of the login has the market data."""


class Expired(Retryable):
    """The deadline passed before the command was done."""


class PermissionsMissing(NonRetryable):
    """The login has no subscription to this data."""


class InvalidInstrument(NonRetryable):
    """IB knows no such contract, or the text cannot name one."""


class AmbiguousInstrument(InvalidInstrument):
    """Several contracts fit; `candidates` lists them."""


class InvalidCommand(NonRetryable):
    """The command is malformed; the message names the field."""


class Unsupported(NonRetryable):
    """What this version does not serve, or a kind that IB does not offer for the instrument."""


class Misconfigured(NonRetryable):
    """A setting of the sidecar stands in the way."""


class Internal(NonRetryable):
    """An error that has no better name; the sidecar's log says more."""


ERRORS: Final[dict[Code, type[MarketDataError]]] = {
    "pacing_violation": PacingViolation,
    "farm_transient": FarmTransient,
    "connection_failed": ConnectionFailed,
    "busy": Busy,
    "line_limit": LineLimit,
    "competing_session": CompetingSession,
    "expired": Expired,
    "permissions_missing": PermissionsMissing,
    "invalid_instrument": InvalidInstrument,
    "ambiguous_instrument": AmbiguousInstrument,
    "validation_error": InvalidCommand,
    "unsupported": Unsupported,
    "configuration_error": Misconfigured,
    "internal": Internal,
}


def named(error: MarketDataError, instrument: str) -> MarketDataError:
    """The same error, saying of which instrument: among several, nobody could tell."""
    if isinstance(error, NoAnswer) or instrument in error.message:
        return error
    return type(error)(replace(error.rejection, message=f"{instrument}: {error.message}"))


def error_of(rejection: Rejection) -> MarketDataError:
    """The exception for a rejection, by its code."""
    return ERRORS[rejection.code](rejection)
