"""Owns the proof that no client can bring the simulator down, and that random values survive the wire.

Must not name single faults; those have tests of their own.
"""

from __future__ import annotations

import math
import random
from decimal import Decimal
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.sim import Simulator, SimulatorSettings
from ibkr_actor.sim import messages as m
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire.reading import BadRequest
from ibkr_actor.sim.wire.request_base import Request
from ibkr_actor.sim.wire.requests import read_request
from ibkr_actor.sim.wire.responses import Encoder
from ibkr_actor.sim.wire.scanner_wire import ReqScannerSubscription
from tests.sim.peers import DEADLINE_S, FIXED_START_S, VERSIONS, Requests, connected, decode, greet, stock

REQ_IDS = st.integers(0, 2**31 - 2)
PRICES = st.floats(-1e9, 1e9, allow_nan=False)
SIZES = st.decimals(0, 10**12, places=4)
TIMES = st.integers(0, 2**40)
FRACTIONAL_VERSIONS = [version for version in VERSIONS if version >= 163]


@given(st.sampled_from(FRACTIONAL_VERSIONS), REQ_IDS, PRICES, SIZES, st.integers(0, 7))
def test_any_price_and_size_arrive_as_sent(version: int, req_id: int, price: float, size: Decimal, mask: int) -> None:
    tick = m.TickPrice(req_id=req_id, tick_type=2, price=price, size=size, attrib_mask=mask)
    (priced, sized) = decode(Encoder(version).encode(tick), version)
    attributes = priced[4]
    assert priced[:4] == ("tickPrice", req_id, 2, price)
    assert (attributes.canAutoExecute, attributes.pastLimit, attributes.preOpen) == (
        bool(mask & 1),
        bool(mask & 2),
        bool(mask & 4),
    )
    assert sized == ("tickSize", req_id, 3, size)


@given(st.sampled_from(FRACTIONAL_VERSIONS), TIMES, PRICES, PRICES, SIZES, SIZES, st.booleans(), st.booleans())
def test_any_quote_tick_by_tick_arrives_as_sent(
    version: int, time: int, bid: float, ask: float, bid_size: Decimal, ask_size: Decimal, low: bool, high: bool
) -> None:
    tick = m.TickByTickBidAsk(
        req_id=1, time=time, bid_price=bid, ask_price=ask, bid_size=bid_size, ask_size=ask_size,
        bid_past_low=low, ask_past_high=high,
    )  # fmt: skip
    ((name, *values, attributes),) = decode(Encoder(version).encode(tick), version)
    assert (name, values) == ("tickByTickBidAsk", [1, time, bid, ask, bid_size, ask_size])
    assert (attributes.bidPastLow, attributes.askPastHigh) == (low, high)


@given(st.sampled_from(VERSIONS), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_error_text_arrives_as_sent(version: int, text: str) -> None:
    error = m.ErrorMessage(req_id=-1, code=2100, text=text)
    assert decode(Encoder(version).encode(error), version)[0][4] == text


@given(st.integers(0, 120), st.binary(max_size=200), st.booleans(), st.sampled_from(VERSIONS))
def test_any_bytes_are_a_request_or_a_bad_request(message_id: int, body: bytes, protobuf: bool, version: int) -> None:
    try:
        request = read_request(message_id, body, protobuf=protobuf, server_version=version)
        req_id = request.req_id
    except BadRequest as error:
        req_id = error.req_id
    assert -(2**31) <= req_id < 2**31


def _sound_frames(version: int) -> list[bytes]:
    client = Requests(version)
    client.reqMktData(1, stock("AAPL"), "233", False, False, [])
    client.reqContractDetails(2, stock("RY", ""))
    client.reqTickByTickData(3, stock("SPY"), "Last", 0, False)
    client.reqRealTimeBars(4, stock("SPY"), 5, "TRADES", False, [])
    client.reqMktDepth(5, stock("SPY"), 5, False, [])
    client.reqMatchingSymbols(6, "A")
    client.reqMarketDataType(3)
    client.cancelMktData(1)
    return client.sent


def _mutated(chance: random.Random, frame: bytes) -> bytes:
    body = bytearray(frame[4:])
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(body))
        match chance.randrange(3):
            case 0:
                body[place] = chance.randrange(256)
            case 1:
                del body[place]
            case _:
                body.insert(place, chance.randrange(256))
    return len(body).to_bytes(4, "big") + bytes(body)


@pytest.mark.anyio
@pytest.mark.parametrize("version", [157, 178, 201, 213, 226])
async def test_mutated_frames_never_bring_the_simulator_down(version: int) -> None:
    chance = random.Random(version)
    settings: dict[str, Any] = {"server_version": version, "enforce_message_rate": False, "lines": 10_000}
    frames = _sound_frames(version)
    async with Simulator(SimulatorSettings(clock_speed=0.0, start_time_s=FIXED_START_S, **settings)) as sim:
        for client_id in range(100, 140):
            stream, _ = await greet(sim)
            async with stream:
                client = Requests(version)
                client.clientId = client_id
                client.startApi()
                data = client.sent[0] + b"".join(_mutated(chance, chance.choice(frames)) for _ in range(20))
                await stream.send(data)
                await stream.send_eof()
                with anyio.fail_after(DEADLINE_S):
                    try:
                        while True:
                            await stream.receive()
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        pass
        async with connected(sim) as peer:
            await peer.settle()
        assert sim.requests_failed == 0


@pytest.mark.parametrize("rows", ["\u00b2", "9" * 5000, "-1", "ten"])
def test_rows_of_a_scan_that_are_no_number_are_the_default(rows: str) -> None:
    body = "\0".join(["7", rows, *[""] * 24]).encode()
    request = read_request(22, body, protobuf=False, server_version=178)
    assert isinstance(request, ReqScannerSubscription)
    assert request.rows == -1


class _Mistaken:
    """A watcher that cannot bear requests for matching symbols."""

    def connected(self, session: Session) -> None:
        pass

    def requested(self, session: Session, request: Request) -> None:
        if request.message_id == 81:
            raise RuntimeError("a mistake")


@pytest.mark.anyio
async def test_a_mistake_of_the_simulator_costs_one_request_only() -> None:
    async with Simulator(SimulatorSettings(clock_speed=0.0, start_time_s=FIXED_START_S)) as sim:
        sim._clients.watcher = _Mistaken()
        async with connected(sim) as peer:
            await peer.ask("reqMatchingSymbols", 7, "A")
            await peer.ask("reqMarketDataType", 9)
            await peer.settle()
            assert [error for error in peer.errors() if error[1] < 2000] == [(7, 322), (-1, 321)]
        assert sim.requests_failed == 1


@pytest.mark.anyio
@pytest.mark.parametrize("flaw", [{"hours": "?"}, {"start_price": math.nan}])
async def test_an_instrument_with_a_flaw_costs_its_own_requests_only(flaw: dict[str, Any]) -> None:
    async with Simulator(SimulatorSettings(clock_speed=0.0, start_time_s=FIXED_START_S)) as sim:
        apple = sim.instrument("AAPL")
        sim.world.catalogue.add(msgspec.structs.replace(apple, con_id=7, symbol="FLAW", local_symbol="FLAW", **flaw))
        async with connected(sim) as peer:
            for req_id, symbol in ((1, "FLAW"), (2, "AAPL")):
                await peer.ask(
                    "reqHistoricalData", req_id, stock(symbol), "", "1 D", "1 hour", "TRADES", 1, 1, False, []
                )
            await peer.read_until(lambda heard: heard.named("historicalDataEnd"))
            assert [error for error in peer.errors() if error[1] < 2000] == [(1, 322)]
        assert sim.requests_failed == 1
