from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.schema import codec
from ibkr_actor.schema.codec import COMMAND_BYTES_MAX, BadCommand, decode_command, decode_record, encode_record
from ibkr_actor.schema.commands import (
    List,
    Rejection,
    Renew,
    Reply,
    Resolve,
    StatusCommand,
    Subscribe,
    Unsubscribe,
)
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from ibkr_actor.schema.records import AnyRecord, Gap, Quote, Tick
from ibkr_actor.schema.reference_commands import CalcIv, Chain, MarketRule
from tests.schema.samples import SAMPLES

GOLDEN = Path(__file__).parent / "golden"
KINDS = sorted(SAMPLES)


def test_every_record_type_has_a_sample() -> None:
    assert {type(record) for record in SAMPLES.values()} == set(AnyRecord.__args__)


@pytest.mark.parametrize("kind", KINDS)
def test_msgpack_is_what_the_golden_file_holds(kind: str) -> None:
    assert encode_record(SAMPLES[kind]).hex() == (GOLDEN / f"{kind}.msgpack.hex").read_text().strip()


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_what_the_golden_file_holds(kind: str) -> None:
    assert json.loads(encode_record(SAMPLES[kind], "json")) == json.loads((GOLDEN / f"{kind}.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_a_golden_msgpack_record_reads_as_it_was_written(kind: str) -> None:
    packed = bytes.fromhex((GOLDEN / f"{kind}.msgpack.hex").read_text())
    assert decode_record({b"d": packed}) == SAMPLES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_golden_json_record_reads_as_it_was_written(kind: str) -> None:
    assert decode_record({b"j": (GOLDEN / f"{kind}.json").read_bytes()}) == SAMPLES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_msgpack_is_a_positional_array_that_begins_with_its_tag(kind: str) -> None:
    value = msgspec.msgpack.decode(encode_record(SAMPLES[kind]))
    assert value[0] == kind.partition(".")[0]
    assert value[1:] == msgspec.json.decode(
        msgspec.json.encode([getattr(SAMPLES[kind], name) for name in SAMPLES[kind].__struct_fields__])
    )


@pytest.mark.parametrize("kind", KINDS)
def test_json_has_names_and_times_as_text(kind: str) -> None:
    value = json.loads(encode_record(SAMPLES[kind], "json"))
    assert list(value) == ["tag", *SAMPLES[kind].__struct_fields__]
    times = [item for name, item in value.items() if name.endswith("_ns") and item is not None]
    assert times
    assert all(isinstance(item, str) and item.isdigit() for item in times)


def test_data_records_begin_with_the_common_eight() -> None:
    common = ("epoch", "seq", "con_id", "received_ns", "source_ns", "feed", "flags")
    for kind, record in SAMPLES.items():
        if kind != "system":
            assert record.__struct_fields__[:7] == common


def test_an_unknown_tag_reads_as_nothing() -> None:
    assert decode_record({b"d": msgspec.msgpack.encode(["later", 1, 2, 3])}) is None
    assert decode_record({b"j": b'{"tag": "later", "epoch": 1}'}) is None


def test_extra_items_of_a_later_version_are_skipped() -> None:
    items = msgspec.msgpack.decode(encode_record(SAMPLES["tick"]))
    assert decode_record({b"d": msgspec.msgpack.encode([*items, "new", 1])}) == SAMPLES["tick"]
    named = json.loads(encode_record(SAMPLES["tick"], "json")) | {"new": 1}
    assert decode_record({b"j": json.dumps(named).encode()}) == SAMPLES["tick"]


def test_fields_that_an_older_version_did_not_write_have_their_defaults() -> None:
    record = Gap(1, 2, 3, 4, None, 1, 0, "restart", None, None)
    items = msgspec.msgpack.decode(encode_record(record))
    assert decode_record({b"d": msgspec.msgpack.encode(items[:-3])}) == record
    named = json.loads(encode_record(record, "json"))
    for name in ("first_seq", "lost", "refilled"):
        del named[name]
    assert decode_record({b"j": json.dumps(named).encode()}) == record


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"x": b"1"},
        {b"d": b""},
        {b"d": b"\xc1"},
        {b"d": msgspec.msgpack.encode(["quote", "not a number"])},
        {b"d": msgspec.msgpack.encode({"tag": "quote"})},
        {b"j": b"{"},
        {b"j": b'{"tag": "quote", "epoch": "x"}'},
        {b"j": b'{"tag": "tick", "epoch": 1, "received_ns": "soon"}'},
    ],
)
def test_what_is_not_a_record_raises_a_value_error(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # msgspec and int() each have their own words
        decode_record(fields)


prices = st.none() | st.floats(allow_nan=False, allow_infinity=False)
sizes = st.none() | st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,4})?", fullmatch=True)
counts = st.integers(0, 2**62)


@given(st.builds(Quote, counts, counts, counts, counts, st.none() | counts, st.integers(1, 4), st.integers(0, 15),
                 prices, prices, prices, sizes, sizes, sizes, sizes, st.integers(0, 110)))  # fmt: skip
def test_a_quote_survives_both_encodings(record: Quote) -> None:
    assert decode_record({b"d": encode_record(record)}) == record
    assert decode_record({b"j": encode_record(record, "json")}) == record


@given(st.builds(Tick, counts, counts, counts, counts, st.none(), st.just(1), st.just(0), st.integers(0, 110),
                 st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)))  # fmt: skip
def test_a_tick_keeps_whether_its_value_is_a_number_or_a_text(record: Tick) -> None:
    for fields in ({b"d": encode_record(record)}, {b"j": encode_record(record, "json")}):
        again = decode_record(fields)
        assert isinstance(again, Tick)
        assert again.value == record.value
        assert isinstance(again.value, str) == isinstance(record.value, str)


# ---- replies


def test_a_reply_survives_both_encodings() -> None:
    reply = Reply(
        "1-0",
        "subscribe",
        "rejected",
        error=Rejection("ambiguous_instrument", "2 match", candidates=[Contract(1, "A", "STK", "SMART", "USD")]),
    )
    assert codec.decode_reply({b"j": codec.encode_reply(reply)}) == reply
    assert codec.decode_reply({b"d": codec.encode_reply(reply, "msgpack")}) == reply


# ---- commands

COMMANDS = [
    Subscribe(id="7", client="strat-1", instrument="AAPL", kinds=["quote", "trade"], lease_s=60.0, generic_ticks=[233]),
    Subscribe(
        instrument=InstrumentQuery(con_id=265598, exchange="SMART"), kinds=["quote"], deadline_ms=1_767_225_600_000
    ),
    Unsubscribe(),
    Unsubscribe(instrument="AAPL", kinds=["quote"]),
    Renew(client="c"),
    Resolve(instrument="AAPL", refresh=True),
    List(of_client="c"),
    StatusCommand(),
    Chain(instrument="AAPL", expiry=["20261218", "20270115"], strike_range=(200.0, 260.0), right="C", lines=20),
    Chain(instrument="AAPL", expiry=3, moneyness_range=0.1, trading_class="AAPL", lease_s=0.0),
    CalcIv(instrument=InstrumentQuery(con_id=5, exchange="SMART"), option_price=1.5, underlying_price=2.0),
    MarketRule(rule_id=26),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_survives_both_encodings(command: Any) -> None:
    assert decode_command({b"j": codec.encode_command(command)}) == command
    assert decode_command({b"d": codec.encode_command(command, "msgpack")}) == command


def test_a_person_can_type_a_command() -> None:
    command = decode_command({b"j": b'{"op":"subscribe","instrument":"AAPL","kinds":["quote"]}'})
    assert command == Subscribe(instrument="AAPL", kinds=["quote"])


def bad(fields: dict[bytes, bytes]) -> BadCommand:
    with pytest.raises(BadCommand) as caught:
        decode_command(fields)
    return caught.value


def test_a_command_needs_exactly_one_of_the_two_fields() -> None:
    assert "exactly one" in str(bad({}))
    assert "exactly one" in str(bad({b"j": b"{}", b"d": b"\x80"}))


def test_an_overlong_command_is_refused_before_it_is_decoded() -> None:
    assert "at most 65536 bytes" in str(bad({b"j": b"[" * (COMMAND_BYTES_MAX + 1)}))


def test_an_unknown_field_is_refused_by_name_and_to_its_writer() -> None:
    error = bad({b"j": b'{"op":"renew","id":"9","client":"c","lease":5}'})
    assert "lease" in str(error)
    assert (error.code, error.client, error.id) == ("validation_error", "c", "9")


def test_a_value_of_the_wrong_type_is_refused_with_its_place() -> None:
    error = bad({b"j": b'{"op":"subscribe","instrument":"op","kinds":"quote","id":"9"}'})
    assert "kinds" in str(error)
    assert (error.code, error.id) == ("validation_error", "9")


def test_an_unknown_operation_is_answered_with_those_that_are_known() -> None:
    error = bad({b"j": b'{"op":"place_order"}'})
    assert error.code == "unsupported"
    assert "known: bulletins, calc_iv, calc_price, cancel, chain, clear_cooldown, depth_exchanges, " in str(error)
    assert "subscribe, unsubscribe" in str(error)


@pytest.mark.parametrize(
    "fields",
    [
        {b"j": b""},
        {b"j": b"nonsense"},
        {b"j": b"[1]"},
        {b"j": b"{}"},
        {b"j": b'{"op": 5}'},
        {b"j": b'{"op": null}'},
        {b"j": b"[" * 30_000},
        {b"j": b'{"op":"status","id":' + b"[" * 5000},
        {b"j": b"\xff\xfe"},
        {b"j": b'{"op":"status","client":"\xff"}'},
        {b"d": b"\xc1"},
        {b"d": b"\x91" * 30_000},
        {b"d": b""},
    ],
)
def test_poison_is_a_bad_command_and_nothing_else(fields: dict[bytes, bytes]) -> None:
    assert str(bad(fields))


@given(st.binary(max_size=200))
def test_random_bytes_are_a_bad_command_and_nothing_else(raw: bytes) -> None:
    for field in (b"j", b"d"):
        with suppress(BadCommand):
            decode_command({field: raw})


def test_the_schema_imports_msgspec_and_the_standard_library_only() -> None:
    code = (
        "import sys; import ibkr_actor.schema.codec, ibkr_actor.schema.keys; "
        "print([m for m in ('anyio', 'redis', 'ibapi', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
