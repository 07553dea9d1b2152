"""Envelopes as market-data-core's own codec writes, reads and checks them."""

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal

import market_data_core as core
import pytest
from market_data_core.events.codecs import JsonCodec
from market_data_core.telemetry import BackpressureLevel, FeedbackEvent, RateAdjustment
from pydantic import BaseModel

from ibkr_actor.provider.envelopes import MODELS, BadEnvelope, decode, encode, resolve_model, schema_id_of
from ibkr_actor.provider.models import IBKRBar, IBKRQuote, IBKRTrade

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
ONE = Decimal(1)
FEEDBACK = FeedbackEvent(coordinator_id="c", queue_size=1, capacity=2, level=BackpressureLevel.ok, ts=1.5)
EVENTS: list[BaseModel] = [
    IBKRQuote(symbol="CL", bid=Decimal("-37.63"), bid_size=Decimal("0.5"), timestamp=AT, con_id=7, instrument="CL"),
    IBKRTrade(symbol="AAPL", ts=AT, price=Decimal("10.50"), size=100, conditions=["T"]),
    IBKRBar(symbol="AAPL", ts=AT, open=ONE, high=ONE, low=ONE, close=ONE, volume=ONE, resolution="1m"),
    FEEDBACK,
    RateAdjustment(provider="ibkr", scale=0.5, reason=BackpressureLevel.soft, ts=1.5),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_read_back_as_it_was(event: BaseModel) -> None:
    envelope = decode(encode(event, key="k", ts=12.5), id="1-0")
    assert envelope.payload == event
    assert type(envelope.payload) is type(event)
    assert (envelope.id, envelope.key, envelope.ts, envelope.track) == ("1-0", "k", 12.5, "v1")


@pytest.mark.parametrize(
    ("event", "model"),
    [(EVENTS[1], core.Trade), (EVENTS[2], core.Bar), (EVENTS[3], FeedbackEvent), (EVENTS[4], RateAdjustment)],
)
def test_cores_own_codec_reads_it_and_finds_the_hash_it_computes(event: BaseModel, model: type[BaseModel]) -> None:
    data = encode(event)
    read = JsonCodec().decode(data, model)
    assert read.payload == model.model_validate(event.model_dump())
    raw = json.loads(data)
    assert read.meta.hash == hashlib.sha256(json.dumps(raw["payload"], sort_keys=True).encode()).hexdigest()


def test_what_cores_own_codec_writes_is_read() -> None:
    envelope = decode(JsonCodec().encode("telemetry.FeedbackEvent", FEEDBACK, key="k"))
    assert (envelope.payload, envelope.key) == (FEEDBACK, "k")


def test_ids_are_those_that_cores_own_bus_would_give() -> None:
    assert schema_id_of(FEEDBACK) == "telemetry.FeedbackEvent"
    assert schema_id_of(EVENTS[0]) == "_models.Quote"
    quote = core.Quote(symbol="X", timestamp=AT)
    assert schema_id_of(quote) == f"{core.Quote.__module__.removeprefix('market_data_core.')}.Quote"


@pytest.mark.parametrize(
    "name",
    ["Quote", "Bar", "Trade", "MarketDepth", "OptionSnapshot", "OptionGreeks", "OptionChain", "Instrument", "Health"],
)
def test_every_model_of_core_is_known(name: str) -> None:
    assert issubclass(resolve_model(f"_models.{name}"), getattr(core, name))
    assert issubclass(resolve_model(f"models.{name}"), BaseModel)
    for model in ("FeedbackEvent", "RateAdjustment", "ControlAction"):
        assert any(schema_id.endswith(f".{model}") for schema_id in MODELS) or model == "ControlAction"


def test_a_model_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"unknown schema_id: x\.Y"):
        resolve_model("x.Y")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"{}",
        b'{"ts": 1, "meta": {"schema_id": "x.Y"}, "payload": {}}',
        b'{"ts": 1, "meta": {"schema_id": "_models.Quote"}, "payload": {"bid": 1}}',
        encode(FEEDBACK).replace(b'"queue_size": 1', b'"queue_size": 2'),
        b"\xff\xfe",
    ],
)
def test_bytes_that_are_no_envelope_are_refused(data: bytes) -> None:
    with pytest.raises(BadEnvelope):
        decode(data)
