"""Owns what every request has in common, and the tools with which a family of requests reads its own.

Must not know any particular request; those are in requests.py and the *_wire modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import DecodeError

from ibkr_actor.sim.market.instruments import ContractSpec, Leg
from ibkr_actor.sim.wire.reading import BadRequest, Fields, first_varint

_P = TypeVar("_P")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """`message_id` is the id of ibapi.message.OUT, without the 200 of protobuf."""

    message_id: int
    req_id: int = -1


class Cancel(Request, frozen=True, kw_only=True):
    """Ends a subscription; which kind says the message id."""


class Plain(Request, frozen=True, kw_only=True):
    """Any other request: only its id and, where it has one, its req_id are read."""


# Reads text fields at a server version, and reads a protobuf body. Both raise BadRequest.
Reader = tuple[Callable[[Fields, int], Request], Callable[[bytes], Request]]


def contract_of(proto: Any) -> ContractSpec:
    """The contract of a protobuf request."""
    return ContractSpec(
        con_id=proto.conId,
        symbol=proto.symbol,
        sec_type=proto.secType,
        last_trade_date_or_contract_month=proto.lastTradeDateOrContractMonth,
        strike=proto.strike,
        right=proto.right,
        multiplier=f"{proto.multiplier:g}" if proto.HasField("multiplier") else "",
        exchange=proto.exchange,
        primary_exchange=proto.primaryExch,
        currency=proto.currency,
        local_symbol=proto.localSymbol,
        trading_class=proto.tradingClass,
        include_expired=proto.includeExpired,
        sec_id_type=proto.secIdType,
        sec_id=proto.secId,
        issuer_id=proto.issuerId,
        legs=tuple(
            Leg(con_id=leg.conId, ratio=leg.ratio, action=leg.action, exchange=leg.exchange) for leg in proto.comboLegs
        ),
    )


def parse(factory: Callable[[], _P], body: bytes) -> _P:
    """A protobuf message of `factory` out of `body`.

    Raises: BadRequest when it is none.
    """
    proto: Any = factory()
    try:
        proto.ParseFromString(body)
    except DecodeError:
        raise BadRequest(first_varint(body), "Unable to parse data") from None
    parsed: _P = proto
    return parsed


def cancel_reader(message_id: int, factory: Callable[[], Any], *, versioned: bool = True) -> Reader:
    """Reader of a request that holds a req_id only; `versioned` when a version field comes before it in text."""

    def text(fields: Fields, _: int) -> Request:
        if versioned:
            fields.text()
        return Cancel(message_id=message_id, req_id=fields.own_id())

    def protobuf(body: bytes) -> Request:
        return Cancel(message_id=message_id, req_id=parse(factory, body).reqId)

    return text, protobuf
