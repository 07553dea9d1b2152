"""Read-only by construction: every method of the official client, called at several server versions on a socket."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import socket
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ibapi.client import EClient
from ibapi.common import WshEventData
from ibapi.contract import Contract
from ibapi.execution import ExecutionFilter
from ibapi.message import OUT
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel
from ibapi.scanner import ScannerSubscription

from ibkr_actor.errors import ReadOnlyViolation
from ibkr_actor.tws.allowlist import ALLOWED, check_outgoing, message_id
from ibkr_actor.tws.client import Client, RequestRefused
from ibkr_actor.tws.connection import Connection
from tests.tws.wire import split_frames, text_frame, with_length

VERSIONS = [157, 178, 200, 201, 207, 213, 226]
# What the class has beside its requests; connect and disconnect have tests of their own.
PLUMBING = {
    *("run", "connect", "disconnect", "reset", "isConnected", "setConnState", "logRequest", "sendMsg"),
    *("sendMsgProtoBuf", "keyboardInterrupt", "keyboardInterruptHard", "msgLoopTmo", "msgLoopRec", "checkConnected"),
    *("validateInvalidSymbols", "setConnectOptions", "setOptionalCapabilities", "serverVersion", "twsConnectionTime"),
    *("useProtoBuf", "abandon", "refused_frames", "validateOrderParameters", "validateAttachedOrdersParameters"),
}
ORDER_METHODS = [
    *("placeOrder", "cancelOrder", "reqGlobalCancel", "exerciseOptions", "reqOpenOrders", "reqAllOpenOrders"),
    *("reqAutoOpenOrders", "reqExecutions", "reqPositions", "reqAccountSummary", "reqAccountUpdates", "reqPnL"),
    *("reqManagedAccts", "reqCompletedOrders", "replaceFA", "requestFA", "reqPositionsMulti"),
]


class Wired:
    """A client that believes it is connected, and the other end of its socket."""

    def __init__(self, server_version: int) -> None:
        near, self.far = socket.socketpair()
        self.far.setblocking(False)
        self.client = Client()
        self.connection = Connection("peer", 1, connect_timeout_s=1, io_timeout_s=1)
        self.connection.socket = near
        self.connection.server_version = self.client.serverVersion_ = server_version
        self.client.conn = self.connection
        self.client.clientId = 1
        self.client.setConnState(EClient.CONNECTED)

    def wire(self) -> list[bytes]:
        data = b""
        with contextlib.suppress(BlockingIOError):
            while piece := self.far.recv(1 << 20):
                data += piece
        return split_frames(data)

    def close(self) -> None:
        self.connection.close()
        self.far.close()


@pytest.fixture
def wired() -> Iterator[Callable[[int], Wired]]:
    made: list[Wired] = []

    def make(server_version: int) -> Wired:
        made.append(Wired(server_version))
        return made[-1]

    yield make
    for one in made:
        one.close()


def request_methods() -> list[str]:
    found = inspect.getmembers(Client, inspect.isfunction)
    return [name for name, _ in found if not name.startswith("_") and name not in PLUMBING]


def contract() -> Contract:
    out = Contract()
    out.conId, out.symbol, out.secType, out.exchange, out.currency = 265598, "AAPL", "STK", "SMART", "USD"
    return out


def order() -> Order:
    out = Order()
    out.action, out.orderType, out.lmtPrice, out.totalQuantity = "BUY", "LMT", 1.0, 1
    return out


BY_NAME: dict[str, Any] = {
    "contract": contract,
    "order": order,
    "orderCancel": OrderCancel,
    "execFilter": ExecutionFilter,
    "subscription": ScannerSubscription,
    "whatToShow": lambda: "TRADES",
    "endDateTime": lambda: "20260301 10:00:00 UTC",
    "startDateTime": lambda: "",
    "barSizeSetting": lambda: "1 min",
    "durationStr": lambda: "1 D",
    "tickType": lambda: "Last",
    "wshEventData": WshEventData,
}


def argument(name: str, annotation: Any) -> Any:
    if name in BY_NAME:
        return BY_NAME[name]()
    if hasattr(annotation, "DESCRIPTOR"):
        return annotation()
    if name.endswith("Proto"):  # the few without an annotation
        message = name.removesuffix("Proto")
        message = message[0].upper() + message[1:]
        return getattr(importlib.import_module(f"ibapi.protobuf.{message}_pb2"), message)()
    if annotation in (bool, float, str):
        return annotation()
    return [] if annotation is list or name.endswith("Options") else 1


@functools.cache
def arguments_of(name: str) -> tuple[tuple[str, Any], ...]:
    method = getattr(EClient, name)
    hints = typing.get_type_hints(method)
    return tuple((param, hints.get(param)) for param in list(inspect.signature(method).parameters)[1:])


def call(client: Client, name: str) -> Exception | None:
    """Calls a method with plausible arguments; what it raised."""
    try:
        getattr(client, name)(*(argument(param, annotation) for param, annotation in arguments_of(name)))
    except (ReadOnlyViolation, RequestRefused) as error:
        return error
    return None


@pytest.mark.parametrize("server_version", VERSIONS)
def test_no_method_of_the_official_client_can_send_anything_but_market_data_requests(
    server_version: int, wired: Callable[[int], Wired]
) -> None:
    names = request_methods()
    assert len(names) > 120
    for name in names:
        one = wired(server_version)
        raised = call(one.client, name)
        sent = [message_id(frame, server_version) for frame in one.wire()]
        assert set(sent) <= set(ALLOWED), f"{name} put {sent} on the wire"
        if isinstance(raised, ReadOnlyViolation):
            assert not sent
            assert one.client.refused_frames() == 1
        one.close()


def test_the_arguments_are_good_enough_to_send_every_allowed_message(wired: Callable[[int], Wired]) -> None:
    sent: set[int] = set()
    for server_version in (200, 226):
        for name in request_methods():
            one = wired(server_version)
            call(one.client, name)
            sent |= {message_id(frame, server_version) for frame in one.wire()}
            one.close()
    assert sent == set(ALLOWED)


@pytest.mark.parametrize("server_version", VERSIONS)
@pytest.mark.parametrize("name", ORDER_METHODS)
def test_order_and_account_methods_are_refused_and_put_nothing_on_the_wire(
    name: str, server_version: int, wired: Callable[[int], Wired]
) -> None:
    one = wired(server_version)
    assert isinstance(call(one.client, name), ReadOnlyViolation)
    assert one.wire() == []


@pytest.mark.parametrize("server_version", VERSIONS)
def test_the_senders_below_the_methods_are_filtered_too(server_version: int, wired: Callable[[int], Wired]) -> None:
    one = wired(server_version)
    with pytest.raises(ReadOnlyViolation):
        one.client.sendMsg(OUT.PLACE_ORDER, "1\0")
    with pytest.raises(ReadOnlyViolation):
        one.client.sendMsgProtoBuf(OUT.PLACE_ORDER + 200, b"")
    good = with_length(text_frame(server_version, 49, 1))
    bad = with_length(text_frame(server_version, 3, 1))
    for data in (bad, good + bad, good[:-1], good + b"x", b"", b"\0\0\0\0", b"\0\0\0\1x", with_length(b"+1\0")):
        with pytest.raises(ReadOnlyViolation):
            one.connection.sendMsg(data)
    assert one.wire() == []
    one.connection.sendMsg(good)
    assert one.wire() == [good]


def test_nothing_can_be_sent_before_the_handshake(wired: Callable[[int], Wired]) -> None:
    one = wired(200)
    one.connection.server_version = None
    with pytest.raises(ReadOnlyViolation):
        one.connection.sendMsg(with_length(text_frame(200, 49, 1)))
    assert one.wire() == []


FORBIDDEN_WORDS = ("ORDER", "ACCT", "ACCOUNT", "POSITION", "EXEC", "PNL", "FA", "EXERCISE", "CONFIG", "VERIFY", "USER")


def test_the_list_names_no_order_account_or_settings_message() -> None:
    ids = {value: name for name, value in vars(OUT).items() if name.isupper()}
    for number in ALLOWED:
        name = ids[number]
        assert not any(word in name.split("_") for word in FORBIDDEN_WORDS), name
    # What a newer client brings is not allowed until somebody adds it here.
    assert len(ALLOWED) == 41


def test_ids_in_every_form_are_told_apart() -> None:
    assert message_id(with_length(b"3\x001\x00"), 200) == 3
    assert message_id(with_length((3).to_bytes(4, "big") + b"1\0"), 201) == 3
    assert message_id(with_length((203).to_bytes(4, "big")), 226) == 3
    assert check_outgoing(with_length((201).to_bytes(4, "big")), 226) == 1
    # A text id at a server that reads four bytes is another number altogether.
    with pytest.raises(ReadOnlyViolation):
        check_outgoing(with_length(b"1\x0011\x00"), 226)
