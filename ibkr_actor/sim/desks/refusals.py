"""Owns what the simulator says no with: IB's texts, the requests it does not serve, and errors a test injects.

Must not send anything; it only knows codes and words.
"""

from __future__ import annotations

import msgspec

from ibkr_actor.sim.market.instruments import ContractSpec
from ibkr_actor.sim.wire.request_base import Request

# Said after startApi with error id -1. Source: the farms named on real connections.
FARM_NOTICES: tuple[tuple[int, str], ...] = (
    *((2104, f"Market data farm connection is OK:{farm}") for farm in ("usfarm.nj", "cashfarm", "eufarm", "usfarm")),
    *((2106, f"HMDS data farm connection is OK:{farm}") for farm in ("euhmds", "cashhmds", "ushmds")),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)
NO_SECURITY_DEFINITION = "No security definition has been found for the request"
CLIENT_ID_IN_USE = "Unable to connect as the client id is already in use. Retry with a unique client id."
READ_ONLY = "The API interface is currently in Read-Only mode."

# placeOrder, cancelOrder, exerciseOptions, reqGlobalCancel. Source: ibapi.message.OUT.
ORDER_MESSAGES = frozenset({3, 4, 21, 58})
# Requests a gateway takes without an answer: log level, and the ends of things this account has none of.
SILENT_MESSAGES = frozenset({12, 13, 14, 63, 64, 75, 77, 93, 95})


def validation(cause: str) -> str:
    """The text around the cause of an error 321."""
    return f"Error validating request.-'bW' : cause - {cause}"


def ambiguous(spec: ContractSpec) -> str:
    """The second text of error 200, when several contracts fit."""
    what = spec.symbol or spec.local_symbol or str(spec.con_id)
    return f"The contract description specified for {what} is ambiguous;\nyou must specify the multiplier or currency."


_UNSERVED: dict[int, tuple[int, str]] = {
    15: (321, validation(READ_ONLY)),
    18: (321, validation("FA data operations ignored for non FA customers.")),
    19: (321, validation("FA data operations ignored for non FA customers.")),
    100: (10276, "News feed is not allowed"),
    101: (10279, "Failed to cancel request for WSH metadata"),
    102: (10276, "News feed is not allowed"),
    103: (10281, "Failed to cancel request for WSH event data"),
}


def unserved(request: Request) -> tuple[int, str]:
    """Code and text for a request that is read but not served."""
    known = _UNSERVED.get(request.message_id)
    if known is None:
        return 321, validation(f"Request {request.message_id} is not allowed")
    return known


class Refusal(msgspec.Struct, frozen=True):
    """An injected error; `times` None means every time."""

    code: int
    text: str
    times: int | None


class Refusals:
    """Errors to answer coming requests with, by con_id or by req_id."""

    def __init__(self) -> None:
        self._by_con_id: dict[int, Refusal] = {}
        self._by_req_id: dict[int, Refusal] = {}

    def add(self, refusal: Refusal, *, con_id: int | None = None, req_id: int | None = None) -> None:
        """Raises: ValueError unless exactly one of con_id and req_id is given."""
        if (con_id is None) == (req_id is None):
            raise ValueError("name either an instrument or a req_id")
        if con_id is not None:
            self._by_con_id[con_id] = refusal
        elif req_id is not None:
            self._by_req_id[req_id] = refusal

    def clear(self) -> None:
        self._by_con_id.clear()
        self._by_req_id.clear()

    def take_instrument(self, con_id: int) -> Refusal | None:
        return _take(self._by_con_id, con_id)

    def take_req_id(self, req_id: int) -> Refusal | None:
        return _take(self._by_req_id, req_id)


def _take(table: dict[int, Refusal], key: int) -> Refusal | None:
    """Counted down together for all the instruments that one name meant."""
    refusal = table.get(key)
    if refusal is not None and refusal.times is not None:
        left = Refusal(refusal.code, refusal.text, refusal.times - 1)
        for each in [each for each, it in table.items() if it is refusal]:
            if refusal.times <= 1:
                del table[each]
            else:
                table[each] = left
    return refusal
