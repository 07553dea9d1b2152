"""The canonical errors: one class for each code a command may be refused with, and one for no answer at all.

Converts a rejection into its exception; decides nothing about retries.
"""

from __future__ import annotations

import re
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
        """Code, message, and what to do, in one line."""
        advice = self.advice
        return f"{self.rejection.code}: {self.rejection.message}" + (f"; {advice}" if advice else "")

    @property
    def advice(self) -> str:
        """What to do about it; empty where the message says it."""
        return advice_on(self.rejection)

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


# What helps besides waiting, where a message by itself does not say it.
_ADVICE: Final[dict[Code, str]] = {
    "line_limit": "give lines back (`ibkr-actor lines` tells who holds them), or set IBKR_LINES to what the login has",
    "permissions_missing": "subscribe to these data at IB, or ask for delayed ones (feed delayed)",
    "competing_session": "end the other session of this login",
    "connection_failed": "`ibkr-actor doctor` finds out why there is no connection to IB",
    "ambiguous_instrument": "say which",
    "internal": "the sidecar's log says more",
}
_CANDIDATES_NAMED: Final = 5


def advice_on(rejection: Rejection) -> str:
    """What to do about a refusal: which names would do, what to change, when to try again."""
    parts = []
    if text := _ADVICE.get(rejection.code):
        parts.append(text + _candidates(rejection))
    if rejection.code == "invalid_instrument" and rejection.ib_code is not None:
        # IB only says that there is none; what the text lacks a message of ours says itself.
        parts.append("`ibkr-actor search` finds what there is")
    if rejection.retryable:
        wait_s = rejection.retry_after_s
        parts.append("try again " + (f"in {wait_s:g} s" if wait_s else "later"))
    return "; ".join(parts)


def _candidates(rejection: Rejection) -> str:
    """`: con_id 1 (STK NASDAQ USD), ...`, each as it may be asked for."""
    found = rejection.candidates or []
    named = [f"con_id {one.con_id} ({one.sec_type} {one.exchange} {one.currency})" for one in found]
    return (": " if found else "") + ", ".join(named[:_CANDIDATES_NAMED] + ["..."] * (len(found) > _CANDIDATES_NAMED))


def named(error: MarketDataError, instrument: str) -> MarketDataError:
    """The same error, saying of which instrument: among several, nobody could tell."""
    if isinstance(error, NoAnswer) or re.search(rf"(?<![\w.]){re.escape(instrument)}(?!\w)", error.message):
        return error
    return type(error)(replace(error.rejection, message=f"{instrument}: {error.message}"))


def error_of(rejection: Rejection) -> MarketDataError:
    """The exception for a rejection, by its code."""
    return ERRORS[rejection.code](rejection)
