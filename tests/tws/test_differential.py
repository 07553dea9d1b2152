"""The fast decoder against the official one: the same frames, kind by kind, at many server versions, must say the same.

Where ours says something else on purpose, test_decode.py has a test of that name.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ibapi.decoder import Decoder as OfficialDecoder
from ibapi.protobuf.HistoricalDataUpdate_pb2 import HistoricalDataUpdate
from ibapi.protobuf.MarketDepth_pb2 import MarketDepth
from ibapi.protobuf.MarketDepthL2_pb2 import MarketDepthL2
from ibapi.protobuf.RealTimeBarTick_pb2 import RealTimeBarTick
from ibapi.protobuf.TickByTickData_pb2 import TickByTickData
from ibapi.protobuf.TickGeneric_pb2 import TickGeneric
from ibapi.protobuf.TickOptionComputation_pb2 import TickOptionComputation
from ibapi.protobuf.TickPrice_pb2 import TickPrice
from ibapi.protobuf.TickSize_pb2 import TickSize
from ibapi.protobuf.TickString_pb2 import TickString

from ibkr_actor.core.events import DecodeFailed, MarketDataEvent
from ibkr_actor.tws.decode import Decoder
from tests.tws.canonical import Form, OfficialForms, forms_of
from tests.tws.wire import NS, batch, proto_frame, text_frame

# Each border of a text layout and its two sides, then every generation; from 201 on text has binary ids.
TEXT_VERSIONS = [
    *(
        100,
        108,
        109,
        131,
        132,
        145,
        146,
        152,
        153,
        155,
        156,
        157,
        163,
        164,
        165,
        166,
        173,
        176,
        178,
        182,
        186,
        193,
        194,
    ),
    *(196, 200, 201, 203, 205, 206, 208, 213, 222, 226),
]
PROTO_VERSIONS = [201, 205, 206, 208, 211, 212, 213, 220, 222, 224, 225, 226]

PRICES = "0 0.0 -0.0 1 -1 -1.0 -2.0 123.45 0.00001 1.0E-5 1E-7 -37.63 99999999.25 1.7976931348623157E308 Infinity NaN"
SIZES = (
    "0 0.0 1 100 10800.0 1E-7 0.0000001 1E+3 007 -5 0.10 2147483647 9223372036854775807 -9223372036854775808 "
    "1.7976931348623157E308 12345678901234567890.125 Infinity"
)

prices = st.one_of(
    st.sampled_from(PRICES.split(" ")),
    st.floats(min_value=-1e9, max_value=1e9).map(repr),
    st.floats(min_value=-1e301, max_value=1e301).map(repr),
)
sizes = st.one_of(
    st.sampled_from(SIZES.split(" ")),
    st.integers(min_value=0, max_value=10**12).map(str),
    st.decimals(min_value=0, max_value=10**9, places=4).map(str),
)
# What stands for "not computed" in one field is a value in the next.
greeks = st.one_of(st.sampled_from(["-1", "-1.0", "-2", "-2.0", "0", "0.25"]), prices)
text_sizes = st.one_of(st.just(""), sizes)
req_ids = st.integers(min_value=0, max_value=2**31 - 2)
tick_types = st.one_of(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 49, 53, 66, 67, 68, 83]), st.integers(0, 100))
masks = st.integers(min_value=0, max_value=7)
text_masks = st.one_of(st.just(""), masks.map(str))
times = st.integers(min_value=0, max_value=4_000_000_000)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0", min_codepoint=32), max_size=12)
flags = st.booleans()
small = st.integers(min_value=0, max_value=30)


@functools.cache
def ours(server_version: int) -> Decoder:
    return Decoder(1, server_version)


@functools.cache
def official(server_version: int) -> OfficialDecoder:
    return OfficialDecoder(OfficialForms(), server_version)


def official_forms(server_version: int, frame: bytes) -> list[Form]:
    """As EClient.run does it."""
    decoder = official(server_version)
    forms: list[Form] = []
    decoder.wrapper.forms = forms
    if server_version >= 201:
        number, body = int.from_bytes(frame[:4], "big"), frame[4:]
    else:
        head, _, body = frame.partition(b"\0")
        number = int(head)
    if number > 200:
        decoder.processProtoBuf(body, number - 200)
    else:
        decoder.interpret(tuple(body.split(b"\0")[:-1]), number)
    return forms


def assert_equal(server_version: int, frame: bytes) -> None:
    expected = official_forms(server_version, frame)
    events = ours(server_version).decode(batch(frame))
    assert not [event for event in events if isinstance(event, DecodeFailed)], events
    assert expected, "the official decoder says nothing of this frame"
    said = []
    for event in events:
        assert isinstance(event, MarketDataEvent)
        assert event.received_ns == NS
        said += forms_of(event)
    assert said == expected


# ---- text: kind -> the fields after the id


def option_fields(draw: st.DrawFn, server_version: int) -> list[object]:
    version = draw(st.sampled_from([1, 5, 6]))
    kind = draw(st.sampled_from([10, 11, 12, 13, 53, 80, 83]))
    head: list[object] = [version] if server_version < 156 else []
    head += [draw(req_ids), kind]
    if server_version >= 156:
        head.append(draw(st.sampled_from([0, 1, 2147483647])))
    return head + [draw(greeks) for _ in range(8)]


def tick_by_tick_fields(draw: st.DrawFn, kind: int) -> list[object]:
    head = [draw(req_ids), kind, draw(times)]
    if kind == 3:
        return [*head, draw(prices), draw(prices), draw(text_sizes), draw(text_sizes), draw(text_masks)]
    if kind == 4:
        return [*head, draw(prices)]
    return [*head, draw(prices), draw(text_sizes), draw(text_masks), draw(words), draw(words)]


def string_value(draw: st.DrawFn) -> bytes:
    """As a server escapes it, as one does not, and broken escapes."""
    value = draw(words)
    how = draw(st.sampled_from(["escaped", "utf-8", "latin-1"]))
    if how == "escaped":
        return value.encode("ascii", "backslashreplace")
    return value.encode(how, "replace")


def text_fields(draw: st.DrawFn, kind: str, server_version: int) -> tuple[int, list[object]]:
    match kind:
        case "price":
            # Before 109 the mask is a flag of its own and not a set of bits.
            mask = draw(text_masks if server_version >= 109 else st.sampled_from(["", "0", "1"]))
            return 1, [6, draw(req_ids), draw(tick_types), draw(prices), draw(text_sizes), mask]
        case "size":
            return 2, [6, draw(req_ids), draw(tick_types), draw(text_sizes)]
        case "generic":
            return 45, [6, draw(req_ids), draw(tick_types), draw(prices)]
        case "string":
            return 46, [6, draw(req_ids), draw(tick_types), string_value(draw)]
        case "option":
            return 21, option_fields(draw, server_version)
        case "bar":
            ohlc = [draw(prices) for _ in range(4)]
            count = draw(st.sampled_from([0, 7, -1, 2147483647]))
            return 50, [3, draw(req_ids), draw(times), *ohlc, draw(text_sizes), draw(text_sizes), count]
        case "update":
            ohlc = [draw(prices) for _ in range(4)]
            date = draw(st.sampled_from(["1700000000", "20260301", "20260301 10:00:00 US/Eastern"]))
            return 90, [draw(req_ids), draw(small), date, *ohlc, draw(text_sizes), draw(text_sizes)]
        case "depth":
            return 12, [1, draw(req_ids), draw(small), draw(small), draw(small), draw(prices), draw(text_sizes)]
        case "depth_l2":
            row = [draw(small), draw(words), draw(small), draw(small), draw(prices), draw(text_sizes)]
            smart = [draw(st.sampled_from(["0", "1"]))] if server_version >= 146 else []
            return 13, [1, draw(req_ids), *row, *smart]
        case _:
            return 99, tick_by_tick_fields(draw, {"last": 1, "all_last": 2, "bidask": 3, "midpoint": 4}[kind])


KINDS = [
    *("price", "size", "generic", "string", "option", "bar", "update", "depth", "depth_l2"),
    *("last", "all_last", "bidask", "midpoint"),
]


# The official decoder lets Python warn of escapes it does not know; ours does not (test_decode.py).
@pytest.mark.filterwarnings("ignore:.*invalid.*escape sequence:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(data=st.data())
def test_text_says_the_same_in_both_decoders(kind: str, data: st.DataObject) -> None:
    server_version = data.draw(st.sampled_from(TEXT_VERSIONS))
    number, fields = data.draw(st.composite(lambda draw: text_fields(draw, kind, server_version))())
    assert_equal(server_version, text_frame(server_version, number, *fields))


@pytest.mark.parametrize("server_version", range(157, 227))
def test_one_of_each_kind_says_the_same_at_every_server_version(server_version: int) -> None:
    for number, fields in [
        (1, [6, 9002, 1, "101.25", "10800.0", 3]),
        (2, [6, 9002, 0, "300"]),
        (45, [6, 9002, 49, "0.0"]),
        (46, [6, 9002, 45, "1700000000"]),
        (21, [9002, 13, 1, "0.25", "-2.0", "4.5", "-1.0", "0.01", "-2", "0.3", "-0.02", "101.5"]),
        (50, [3, 9002, 1700000000, "1.5", "2", "1", "1.75", "100", "1.625", 7]),
        (90, [9002, 7, "1700000000", "1.5", "1.75", "2", "1", "1.625", "100"]),
        (12, [1, 9002, 0, 0, 1, "101.25", "300"]),
        (13, [1, 9002, 0, "ARCA", 1, 0, "101.25", "300", 1]),
        (99, [9002, 1, 1700000000, "101.25", "300", 2, "ARCA", " T I"]),
        (99, [9002, 2, 1700000000, "101.25", "300", 1, "ARCA", ""]),
        (99, [9002, 3, 1700000000, "101.25", "101.5", "300", "500", 1]),
        (99, [9002, 4, 1700000000, "101.375"]),
    ]:
        assert_equal(server_version, text_frame(server_version, number, *fields))


# ---- protobuf


def some(draw: st.DrawFn, values: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    """Values for fields that may be absent."""
    return {name: draw(strategy) for name, strategy in values.items() if draw(st.integers(0, 9))}


def doubles(draw: st.DrawFn, *names: str) -> dict[str, float]:
    return {name: float(draw(prices)) for name in names}


def depth_row(draw: st.DrawFn) -> dict[str, Any]:
    always = {name: draw(small) for name in ("position", "operation", "side")}
    return always | some(draw, {"price": prices.map(float), "size": sizes})


def proto_message(draw: st.DrawFn, kind: str) -> tuple[int, Any]:
    head = {"reqId": draw(req_ids)}
    ticked = head | {"tickType": draw(tick_types)}
    match kind:
        case "price":
            return 1, TickPrice(
                **ticked, attrMask=draw(masks), **some(draw, {"price": prices.map(float), "size": sizes})
            )
        case "size":
            return 2, TickSize(**ticked, **some(draw, {"size": sizes}))
        case "generic":
            return 45, TickGeneric(**ticked, **some(draw, {"value": prices.map(float)}))
        case "string":
            return 46, TickString(**ticked, **some(draw, {"value": words}))
        case "option":
            names = ("impliedVol", "delta", "optPrice", "pvDividend", "gamma", "vega", "theta", "undPrice")
            values = some(draw, {name: greeks.map(float) for name in names})
            return 21, TickOptionComputation(**ticked, **values, **some(draw, {"tickAttrib": st.sampled_from([0, 1])}))
        case "bar":
            ohlc = doubles(draw, "open", "high", "low", "close")
            rest = some(draw, {"volume": sizes, "WAP": sizes})
            return 50, RealTimeBarTick(**head, time=draw(times), **ohlc, **rest, count=draw(small))
        case "update":
            message = HistoricalDataUpdate(**head)
            values = doubles(draw, "open", "high", "low", "close") | some(draw, {"volume": sizes, "WAP": sizes})
            for name, value in {**values, "date": draw(words), "barCount": draw(small)}.items():
                setattr(message.historicalDataBar, name, value)
            return 90, message
        case "depth":
            return 12, MarketDepth(**head, marketDepthData=depth_row(draw))
        case "depth_l2":
            row = depth_row(draw) | some(draw, {"marketMaker": words, "isSmartDepth": flags})
            if draw(flags):
                del row["position"]
            return 13, MarketDepthL2(**head, marketDepthData=row)
        case _:
            return 99, tick_by_tick_message(draw, {"last": 1, "all_last": 2, "bidask": 3, "midpoint": 4}[kind])


def tick_by_tick_message(draw: st.DrawFn, kind: int) -> Any:
    tick: dict[str, Any] = {"time": draw(times)}
    if kind == 4:
        tick |= doubles(draw, "price")
        return TickByTickData(reqId=draw(req_ids), tickType=kind, historicalTickMidPoint=tick)
    if kind == 3:
        tick |= doubles(draw, "priceBid", "priceAsk") | some(draw, {"sizeBid": sizes, "sizeAsk": sizes})
        tick |= some(draw, {"tickAttribBidAsk": st.fixed_dictionaries({"bidPastLow": flags, "askPastHigh": flags})})
        return TickByTickData(reqId=draw(req_ids), tickType=kind, historicalTickBidAsk=tick)
    tick |= doubles(draw, "price") | some(draw, {"size": sizes, "exchange": words, "specialConditions": words})
    tick |= some(draw, {"tickAttribLast": st.fixed_dictionaries({"pastLimit": flags, "unreported": flags})})
    return TickByTickData(reqId=draw(req_ids), tickType=kind, historicalTickLast=tick)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(data=st.data())
def test_protobuf_says_the_same_in_both_decoders(kind: str, data: st.DataObject) -> None:
    server_version = data.draw(st.sampled_from(PROTO_VERSIONS))
    number, message = data.draw(st.composite(lambda draw: proto_message(draw, kind))())
    assert_equal(server_version, proto_frame(number, message))
