"""Owns the property that three decoders, of which one is ours, read the same values from all the simulator can send.

Must not say what is right for a particular message; test_decoders does.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import types
import typing
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ib_async.decoder import Decoder as AsyncDecoder

from ibkr_actor.core.events import DecodeFailed
from ibkr_actor.sim import messages as m
from ibkr_actor.sim.market.catalogue import default_catalogue
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.wire import history_messages as h
from ibkr_actor.sim.wire.reference_wire import BondData
from ibkr_actor.sim.wire.responses import LAYOUTS, Encoder
from ibkr_actor.tws.decode import PRIVATE_IDS, Decoder
from tests.sim.peers import VERSIONS, Call, decode
from tests.tws.canonical import OfficialForms, forms_of
from tests.tws.wire import batch

# Its pieces are bars that were encoded before: HistoricalData in another dress.
KINDS = sorted(set(LAYOUTS) - {h.EncodedHistoricalData}, key=lambda kind: kind.__name__)
# What our decoder keeps in a form of its own; tests.tws.canonical knows it, and the official client's, as one.
CANONICAL = frozenset(
    {m.TickPrice, m.TickSize, m.TickString, m.TickGeneric, m.TickOptionComputation, m.TickByTickLast}
    | {m.TickByTickBidAsk, m.TickByTickMidPoint, m.RealTimeBar, m.MarketDepth, m.MarketDepthL2}
    | {h.HistoricalDataUpdate}
)
INSTRUMENTS = [default_catalogue().find(name) for name in ("AAPL", "BMW", "EUR.USD", "700", "SPX", "XAUUSD", "VINIX")]
BONDS = [each for each in default_catalogue().all() if each.sec_type == "BOND"]

words = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\,"), min_size=1, max_size=8)
prices = st.floats(0.0625, 1e7).map(lambda price: round(price, 4))
sizes = st.integers(1, 10**9)
times = st.integers(1_000_000_000, 4_000_000_000)
# Where a type alone does not say what can stand there.
BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "tick_attrib": st.sampled_from([0, 1]),
    "attrib_mask": st.integers(0, 7),
    "operation": st.integers(0, 2),
    "side": st.integers(0, 1),
    "position": st.integers(0, 30),
    "time": times,
    "time_ms": st.integers(1_000_000_000_000, 4_000_000_000_000),
    "min_tick": st.sampled_from(["0.01", "0.00005", "0.25"]),
    "last_price_precision": st.sampled_from(["0.01", "1"]),
    "last_size_precision": st.sampled_from(["1", "0.0001"]),
    "market_data_type": st.integers(1, 4),
    "snapshot_permissions": st.integers(0, 3),
    "wap": prices,
    "multiplier": st.sampled_from(["100", "50"]),
    "advanced_order_reject": st.just(""),
    "head_timestamp": times.map(str),
    "date": st.sampled_from(["20231114", "20240102"]),
    "expirations": st.just(("20231117", "20240119")),
    "strikes": st.lists(prices, max_size=4, unique=True).map(tuple),
    "exchange": words,
    # Whether a trade is one of Last or AllLast.
    "has_more": st.booleans(),
}
TICK_TYPES: dict[type[m.Message], list[int]] = {
    m.TickPrice: [1, 2, 4, 6, 9, 14, 15, 35, 37, 50, 66, 68, 75, 94, 101, 103, 105],
    m.TickSize: [0, 3, 5, 8, 21, 27, 34, 61, 63, 69, 74, 86, 89, 107],
    m.TickString: [32, 45, 48, 59, 77, 84, 88, 109],
    m.TickGeneric: [23, 24, 31, 46, 49, 54, 58, 60, 90],
    m.TickOptionComputation: [10, 11, 12, 13, 53, 80, 83],
    m.TickEfp: [38, 44],
    m.TickByTickLast: [1, 2],
}


def of_type(hint: Any, name: str) -> st.SearchStrategy[Any]:
    """Values of an annotation; those of a union are of its first member that is not None."""
    if name in BY_NAME:
        return st.just("2023-11-14 22:13:20.0") if name == "time" and hint is str else BY_NAME[name]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return sizes if Decimal in typing.get_args(hint) else of_type(typing.get_args(hint)[0], name)
    if origin is tuple:
        inner = typing.get_args(hint)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return st.lists(of_type(inner[0], name), min_size=1, max_size=3).map(tuple)
        return st.tuples(*(of_type(each, name) for each in inner))
    if hint is Instrument:
        return st.sampled_from(INSTRUMENTS)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return structs(hint)
    if isinstance(hint, type) and issubclass(hint, tuple):
        fields = typing.get_type_hints(hint)
        return st.builds(hint, **{field: of_type(each, field) for field, each in fields.items()})
    simple: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(1, 2**31 - 2), float: prices, str: words, bool: st.booleans()
    }  # fmt: skip
    return simple[hint]


def structs(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    values = {field: of_type(hints[field], field) for field in kind.__struct_fields__}
    if kind in TICK_TYPES:
        values["tick_type"] = st.sampled_from(TICK_TYPES[kind])
    if kind is BondData:
        values["instrument"] = st.sampled_from(BONDS)
    if kind is h.HistoricalSchedule:
        values["time_zone"] = st.just("US/Eastern")
    return st.builds(kind, **values)


def atoms(value: Any) -> Iterator[object]:
    """Every value in a call or an event that is not a default: numbers as one kind, texts as they are."""
    if value is None or isinstance(value, (bool, enum.Enum)) or value == "":
        return
    if isinstance(value, (int, float, Decimal)):
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        if number.is_finite() and abs(float(number)) not in _UNSET:
            yield number.normalize() + 0
    elif isinstance(value, str):
        for part in value.split(","):
            try:
                yield from atoms(Decimal(part))
            except InvalidOperation:
                yield part
    elif isinstance(value, datetime.datetime):
        yield from atoms(int(value.timestamp()))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from atoms(key)
            yield from atoms(inner)
    elif isinstance(value, (list, tuple, set, frozenset)) and not hasattr(value, "_fields"):
        for inner in value:
            yield from atoms(inner)
    else:
        yield from _inner_atoms(value)


def _inner_atoms(value: Any) -> Iterator[object]:
    if hasattr(value, "_asdict"):
        fields = value._asdict()
    elif isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
    elif dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        fields = vars(value) if hasattr(value, "__dict__") else {}
    for name, inner in fields.items():
        if name in ("conn", "received_ns"):
            continue
        scaled = Decimal(inner) / 10**9 if name.endswith("_ns") and isinstance(inner, int) else inner
        yield from atoms(scaled)


# Stand for a value that is not there, or for a flag.
_UNSET = {0.0, 1.0, 2.0**31 - 1, 2.0**63, 2.0**127, 1.7976931348623157e308}


def told(calls: list[Call]) -> set[object]:
    return {atom for call in calls for atom in atoms(list(call[1:]))}


class AsyncRecorder:
    """Takes ib_async's callbacks."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.defaultTimezone = datetime.UTC

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


def read_by_ib_async(frame: bytes, version: int) -> list[Call]:
    recorder: Any = AsyncRecorder()
    decoder: Any = AsyncDecoder(recorder, version)
    decoder.interpret(frame[4:].decode().split("\0")[:-1])
    calls: list[Call] = recorder.calls
    return calls


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_all_decoders_read_the_same_values_at_every_version(kind: type[m.Message], data: st.DataObject) -> None:
    message = data.draw(structs(kind))
    for version in VERSIONS:
        frame = Encoder(version).encode(message)
        official = decode(frame, version)
        assert official, version
        if version <= 178 and kind not in ASYNC_KNOWS_NOT:
            theirs = told(read_by_ib_async(frame, version))
            if kind is m.TickPrice:
                # They tell sizes of all prices, where the official client tells those of six, in a call of its own.
                assert told(official) - OF_PRICES <= theirs
            else:
                assert theirs == told(official), version
        check_ours(kind, frame, version, official)


# ib_async has no callback for these; its reader of bonds raises at every version.
ASYNC_KNOWS_NOT: frozenset[type[m.Message]] = frozenset({m.CurrentTimeInMillis, h.HistoricalDataEnd, BondData})
# Ours counts accounts, has nanoseconds, and says which kind of ticks these are.
IN_OTHER_WORDS = frozenset(
    {
        m.ManagedAccounts,
        m.CurrentTimeInMillis,
        m.TickNews,
        h.HistoricalTicks,
        h.HistoricalTicksBidAsk,
        h.HistoricalTicksLast,
    }
)
# The tick types of the sizes that the official client takes out of a price.
OF_PRICES = {Decimal(tick_type) for tick_type in (3, 5, 69, 70, 71)}


def check_ours(kind: type[m.Message], frame: bytes, version: int, official: list[Call]) -> None:
    """Ours says what the official one says; of what it keeps in that one's own words, it has no value of its own."""
    events = Decoder(1, version).decode(batch(frame[4:]))
    assert not [event for event in events if isinstance(event, DecodeFailed)], events
    if LAYOUTS[kind].message_id in PRIVATE_IDS:
        assert events == []
    elif kind in CANONICAL:
        forms = OfficialForms()
        for name, *arguments in official:
            getattr(forms, name)(*arguments)
        assert [form for event in events for form in forms_of(event)] == forms.forms
    elif kind not in IN_OTHER_WORDS:
        assert {atom for event in events for atom in atoms(event)} <= told(official), version


def test_atoms_tell_values_apart() -> None:
    told_here = set(atoms([3, 3.5, "3.50", "x", None, "", True, math.inf]))
    assert told_here == {Decimal(3), Decimal("3.5"), "x"}
