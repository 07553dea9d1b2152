"""Owns the peers that test the simulator: the official decoder over a plain socket, and the official client itself.

Must not use the sidecar's own client: what agrees with the simulator here was written by others.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.abc
from ibapi import comm
from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.decoder import Decoder
from ibapi.wrapper import EWrapper

from ibkr_actor.sim import Simulator

VERSIONS = (157, 165, 173, 178, 193, 200, 201, 205, 206, 208, 212, 213, 222, 226)
FIXED_START_S = 1_700_000_000.0
# Only ever over when a test fails: as long as a slow machine with other work may take.
DEADLINE_S = 60.0

Call = tuple[Any, ...]


class Recorder(EWrapper):
    """Keeps every classic callback as (name, *arguments); a condition tells waiters of each."""

    def __init__(self) -> None:
        EWrapper.__init__(self)
        self.calls: list[Call] = []
        self.arrived = threading.Condition()

    def record(self, call: Call) -> None:
        with self.arrived:
            self.calls.append(call)
            self.arrived.notify_all()

    def named(self, name: str) -> list[Call]:
        """The calls of one callback, without the name."""
        return [call[1:] for call in list(self.calls) if call[0] == name]

    def wait_for_call(self, name: str) -> None:
        """Wait until a callback has come at least once."""
        self.wait_for(lambda: bool(self.named(name)))

    def wait_for(self, found: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
        with self.arrived:
            if not self.arrived.wait_for(found, timeout_s):
                raise AssertionError(f"waited in vain; have {self.calls[-20:]}")


def _recording(name: str) -> Callable[..., None]:
    def method(self: Recorder, *arguments: Any) -> None:
        self.record((name, *arguments))

    return method


for _name in dir(EWrapper):
    if not _name.startswith("_") and not _name.endswith("ProtoBuf") and _name != "logAnswer":
        setattr(Recorder, _name, _recording(_name))


def decode(frame: bytes, server_version: int) -> list[Call]:
    """What the official decoder makes of one whole frame."""
    recorder = Recorder()
    feed(Decoder(recorder, server_version), frame[4:], server_version)
    return recorder.calls


def feed(decoder: Any, payload: bytes, server_version: int) -> None:
    """Dispatch one payload as EClient.run() does."""
    if server_version >= 201:
        message_id, body = int.from_bytes(payload[:4], "big"), payload[4:]
    else:
        head, _, body = payload.partition(b"\0")
        message_id = int(head)
    if message_id > 200:
        decoder.processProtoBuf(body, message_id - 200)
    else:
        decoder.interpret(comm.read_fields(body), message_id)


def plain(value: Any) -> Any:
    """ibapi's objects as dicts, so that they can be compared."""
    if hasattr(value, "__dict__"):
        return {key: plain(inner) for key, inner in vars(value).items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def stock(symbol: str, currency: str = "USD", exchange: str = "SMART") -> Contract:
    contract = Contract()
    contract.symbol, contract.secType, contract.exchange, contract.currency = symbol, "STK", exchange, currency
    return contract


def forex(base: str, quote: str) -> Contract:
    contract = Contract()
    contract.symbol, contract.secType, contract.exchange, contract.currency = base, "CASH", "IDEALPRO", quote
    return contract


class Requests(EClient):
    """The official request methods of one server version; the frames they send pile up in `sent`."""

    def __init__(self, server_version: int) -> None:
        EClient.__init__(self, Recorder())
        self.sent: list[bytes] = []
        self.serverVersion_ = server_version
        self.connState = EClient.CONNECTED
        self.conn = self

    def isConnected(self) -> bool:
        return True

    def sendMsg(self, *arguments: Any) -> None:
        """Both faces: EClient's (id, text) and, as its own connection, (bytes)."""
        if len(arguments) == 1:
            self.sent.append(arguments[0])
        else:
            EClient.sendMsg(self, *arguments)


class Peer:
    """An async socket that greets, asks with the official request methods and decodes with the official decoder."""

    def __init__(self, stream: anyio.abc.SocketStream, server_version: int) -> None:
        self.stream = stream
        self.server_version = server_version
        self.requests = Requests(server_version)
        self.recorder = Recorder()
        self.payloads: list[bytes] = []
        self._decoder = Decoder(self.recorder, server_version)
        self._buffer = b""

    async def ask(self, name: str, *arguments: Any) -> None:
        """Call an EClient method and send what it makes."""
        getattr(self.requests, name)(*arguments)
        data, self.requests.sent = b"".join(self.requests.sent), []
        await self.stream.send(data)

    async def read_until(self, found: Callable[[Recorder], Any], timeout_s: float = DEADLINE_S) -> None:
        """Read and decode frames until `found(recorder)`. Raises: TimeoutError, anyio.EndOfStream."""
        with anyio.fail_after(timeout_s):
            while not found(self.recorder):
                self._buffer += await self.stream.receive()
                self._take_frames()

    async def read_to_end(self, timeout_s: float = DEADLINE_S) -> bytes:
        """Read until the simulator hangs up; returns the bytes of an unfinished frame."""
        with anyio.fail_after(timeout_s):
            try:
                while True:
                    self._buffer += await self.stream.receive()
                    self._take_frames()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return self._buffer

    async def settle(self) -> None:
        """Return once everything the simulator said before now has been read: it answers requests in order."""
        before = len(self.recorder.named("currentTime"))
        await self.ask("reqCurrentTime")
        await self.read_until(lambda it: len(it.named("currentTime")) > before)

    def errors(self) -> list[tuple[int, int]]:
        """(req_id, code) of every error that is no notice."""
        return [(call[0], call[2]) for call in self.recorder.named("error") if call[2] not in (2104, 2106, 2158)]

    def _take_frames(self) -> None:
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < 4 + length:
                return
            payload, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
            self.payloads.append(payload)
            feed(self._decoder, payload, self.server_version)


async def greet(sim: Simulator, greeting: bytes = b"v100..226") -> tuple[anyio.abc.SocketStream, bytes]:
    """Connect and send a greeting; returns the stream and the payload of the reply (empty when hung up)."""
    stream = await anyio.connect_tcp("127.0.0.1", sim.port)
    await stream.send(b"API\0" + len(greeting).to_bytes(4, "big") + greeting)
    reply = b""
    with anyio.fail_after(DEADLINE_S):
        try:
            while len(reply) < 4 or len(reply) < 4 + int.from_bytes(reply[:4], "big"):
                reply += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return stream, b""
    return stream, reply[4:]


@asynccontextmanager
async def connected(sim: Simulator, *, client_id: int = 1, options: str = "") -> AsyncIterator[Peer]:
    """A peer after startApi, with the simulator's welcome read."""
    stream, reply = await greet(sim, b"v100..226" + (f" {options}".encode() if options else b""))
    async with stream:
        peer = Peer(stream, int(reply.split(b"\0")[0]))
        peer.requests.clientId = client_id
        await peer.ask("startApi")
        await peer.read_until(lambda it: any(call[2] == 2158 for call in it.named("error")))
        yield peer


class OfficialClient(Recorder, EClient):
    """The official client as a program uses it: callbacks and requests in one object, run() on a thread."""

    def __init__(self) -> None:
        Recorder.__init__(self)
        EClient.__init__(self, self)


@contextmanager
def official_client(
    port: int, client_id: int = 1, welcome: str = "nextValidId", options: str = ""
) -> Iterator[OfficialClient]:
    """A running official client, once the callback `welcome` came; `options` such as +PACEAPI go into its greeting."""
    client = OfficialClient()
    if options:
        client.setConnectOptions(options)
    client.connect("127.0.0.1", port, client_id)
    thread = threading.Thread(target=client.run)
    thread.start()
    try:
        client.wait_for(lambda: bool(client.named(welcome)))
        yield client
    finally:
        client.disconnect()
        thread.join()
        reader = client.reader if hasattr(client, "reader") else None
        if reader is not None:
            reader.join()
