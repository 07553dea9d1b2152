"""Owns the row that says how one kind of message looks on the wire, and the gates between text and protobuf.

Must not know any particular message; the rows are in responses.py and the *_wire modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ibkr_actor.sim.messages import Message

# First server version at which a family of answers is protobuf.
# Source: ibapi.server_versions MIN_SERVER_VER_PROTOBUF*; the answer side is inferred from the request gates.
ERRORS_FROM = 201
COMPLETED_ORDERS_FROM = 204
CONTRACTS_FROM = 205
MARKET_DATA_FROM = 206
ACCOUNTS_FROM = 207
HISTORICAL_FROM = 208
NEWS_FROM = 209
SCANNER_FROM = 210
REST_1_FROM = 211
REST_2_FROM = 212
REST_3_FROM = 213
NEVER = 1 << 31


class Layout(NamedTuple):
    """Message id, first version as protobuf, and the two forms. The message's type is the key in LAYOUTS."""

    message_id: int
    protobuf_from: int
    text: Callable[[Any, int], Sequence[str]]
    protobuf: Callable[[Any, int], Any] | None


def versioned(version: int) -> Callable[[Message, int], list[str]]:
    """Text layout of the messages that carry nothing but a version and a req_id."""
    return lambda message, _: [str(version), str(message.req_id)]
