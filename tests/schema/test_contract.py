"""The contract for other languages: what is committed is what the Structs say, and what they write fits it."""

from __future__ import annotations

import copy
import gzip
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from ibkr_actor.cli.schema import documents
from ibkr_actor.schema.asyncapi import asyncapi
from ibkr_actor.schema.commands import Rejection, Reply
from ibkr_actor.schema.json_schema import json_schema
from ibkr_actor.schema.keys import KIND_FAMILIES

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
KINDS = sorted(path.stem for path in GOLDEN.glob("*.json"))


def fits(value: Any, name: str) -> bool:
    schema = {"$ref": f"#/$defs/{name}", "$defs": json_schema()["$defs"]}
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def fits_asyncapi(value: Any, name: str) -> bool:
    document = asyncapi()
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return bool(jsonschema.Draft7Validator(schema).is_valid(value))


def golden(kind: str) -> tuple[Any, Any]:
    """A record as JSON and as msgpack."""
    packed = bytes.fromhex((GOLDEN / f"{kind}.msgpack.hex").read_text())
    return json.loads((GOLDEN / f"{kind}.json").read_text()), msgspec.msgpack.decode(packed)


@pytest.mark.parametrize("name", sorted(documents()))
def test_what_is_committed_is_what_the_code_says(name: str) -> None:
    committed = (ROOT / "docs" / "schema" / name).read_text()
    assert committed == documents()[name], "run: ibkr-actor schema --out docs/schema"


@pytest.mark.parametrize("kind", KINDS)
def test_a_golden_record_fits_its_schema_and_no_other(kind: str) -> None:
    as_json, packed = golden(kind)
    tag = as_json["tag"]
    for form, value in (("record", as_json), ("packed", packed)):
        assert fits(value, form)
        assert fits(value, f"{form}.{tag}")
        assert fits_asyncapi(value, f"{form}.{tag}")
    assert not fits(as_json | {"tag": "other"}, "record")
    assert not fits(["other", *packed[1:]], "packed")
    assert not fits(packed[:2], f"packed.{tag}")


def test_a_field_of_the_wrong_type_does_not_fit() -> None:
    as_json, packed = golden("quote")
    assert not fits(as_json | {"received_ns": 1}, "record.quote")  # text: JavaScript's numbers end at 2^53
    assert not fits(as_json | {"bid_size": 1}, "record.quote")
    assert not fits([*packed[:8], "1.5", *packed[9:]], "packed.quote")
    # A reader ignores what it does not know.
    assert fits(as_json | {"later": 1}, "record.quote")
    assert fits([*packed, 1], "packed.quote")


@pytest.mark.parametrize("kind", ["bars", "ticks", "done"])
def test_nanoseconds_in_rows_are_text_too(kind: str) -> None:
    as_json, _ = golden(kind)
    rows = "holes" if kind == "done" else "rows"
    number = copy.deepcopy(as_json)
    number[rows][0][0] = 1
    assert not fits(number, f"record.{kind}")


def test_the_commands_of_the_docs_fit_and_unknown_fields_do_not() -> None:
    pages = "\n".join((ROOT / page).read_text() for page in ("README.md", "docs/STREAMS.md"))
    found = [json.loads(shlex.split(line)[-1]) for line in re.findall(r"^redis-cli XADD .*$", pages, re.MULTILINE)]
    assert len(found) > 5
    for command in found:
        assert fits(command, "command"), command
        assert fits_asyncapi(command, f"command.{command['op']}"), command
        assert not fits(command | {"bogus": 1}, "command")


def test_replies_fit() -> None:
    refused = Reply("1", "subscribe", "rejected", error=Rejection("busy", "too much", retryable=True))
    for reply in (Reply("1", "status", "result", result={"a": 1}), refused):
        assert fits(msgspec.to_builtins(reply), "reply")
    assert not fits(msgspec.to_builtins(refused) | {"status": "maybe"}, "reply")


def test_the_asyncapi_document_is_one_by_the_official_schema() -> None:
    official = json.loads(gzip.decompress((ROOT / "tests/data/asyncapi-3.0.0.json.gz").read_bytes()))
    validator = jsonschema.Draft7Validator(official)
    document = asyncapi()
    assert [error.message for error in validator.iter_errors(document)] == []
    document["operations"]["command"]["action"] = "shout"
    assert not validator.is_valid(document)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))
    assert len(references) > 100
    for reference in references:
        place: Any = document
        for part in reference.split("/"):
            place = place[part]


def test_every_record_and_every_command_stands_in_a_channel() -> None:
    document = asyncapi()
    placed = {name for channel in document["channels"].values() for name in channel["messages"]}
    assert placed == set(document["components"]["messages"])
    # Not only in the stream of everything.
    own = {name for key, channel in document["channels"].items() if key != "all" for name in channel["messages"]}
    assert own == placed


def test_every_family_of_kinds_has_a_channel_whose_parameters_are_told() -> None:
    channels = asyncapi()["channels"]
    assert {family.split(".<")[0] for family in KIND_FAMILIES} <= set(channels)
    assert channels["quote"]["address"] == "{prefix}:{gateway}:quote:{instrument}"
    for channel in channels.values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])
        assert channel["messages"]
