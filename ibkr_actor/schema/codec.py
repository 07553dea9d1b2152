"""Encoding: records, commands and replies to bytes and back, as msgpack (field `d`) or JSON (field `j`).

Checks lengths before decoding, since a decoder allocates first; never touches Redis.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from ibkr_actor.schema.commands import AnyCommand, Code, Reply
from ibkr_actor.schema.records import AnyRecord

Encoding = Literal["msgpack", "json"]
# Source: docs/STREAMS.md, "Commands": at most 64 KiB, checked before decoding.
COMMAND_BYTES_MAX: Final = 64 * 1024

_msgpack_encoder = msgspec.msgpack.Encoder()
_json_encoder = msgspec.json.Encoder()
_record_decoder: Final[msgspec.msgpack.Decoder[AnyRecord]] = msgspec.msgpack.Decoder(AnyRecord)
_record_types: Final[dict[str, type[AnyRecord]]] = {str(cls.__struct_config__.tag): cls for cls in AnyRecord.__args__}
_reply_decoder = msgspec.json.Decoder(Reply)
_reply_msgpack_decoder = msgspec.msgpack.Decoder(Reply)
_command_json_decoder: Final[msgspec.json.Decoder[AnyCommand]] = msgspec.json.Decoder(AnyCommand)
_command_msgpack_decoder: Final[msgspec.msgpack.Decoder[AnyCommand]] = msgspec.msgpack.Decoder(AnyCommand)

# tag -> the field that holds rows, and how many values at the beginning of each row are UTC nanoseconds.
ROWS: Final = {"bars": ("rows", 2), "ticks": ("rows", 1), "done": ("holes", 2)}

encode_msgpack = _msgpack_encoder.encode


class BadCommand(ValueError):
    """A command that cannot be understood; `code` is the rejection code, the text says what is wrong."""

    def __init__(self, message: str, *, code: Code = "validation_error", client: str = "", id: str = "") -> None:
        super().__init__(message)
        self.code: Code = code
        self.client = client
        self.id = id


def encode_record(record: AnyRecord, encoding: Encoding = "msgpack") -> bytes:
    """The value of the entry's one field. As JSON the record is an object and every `*_ns` is text."""
    if encoding == "msgpack":
        return encode_msgpack(record)
    return _json_encoder.encode(record_as_dict(record))


def record_as_dict(record: AnyRecord) -> dict[str, Any]:
    """A record by field names, `tag` first and every `*_ns` as text (JavaScript numbers end at 2^53).

    In rows, whose columns have no names, the nanoseconds at the beginning of each are text.
    """
    tag = str(record.__struct_config__.tag)
    rows, columns = ROWS.get(tag, ("", 0))
    out: dict[str, Any] = {"tag": tag}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if name == rows:
            listed = msgspec.to_builtins(value)
            value = [[*map(str, row[:columns]), *row[columns:]] for row in listed]
        out[name] = str(value) if value is not None and name.endswith("_ns") else value
    return out


def decode_record(fields: Mapping[bytes, bytes]) -> AnyRecord | None:
    """The record of one stream entry, by its field (`d` or `j`); None for a tag this version does not know.

    Raises:
        ValueError: neither field is there, or the value is not a record.
    """
    packed = fields.get(b"d")
    if packed is not None:
        try:
            return _record_decoder.decode(packed)
        except msgspec.ValidationError:
            if _is_unknown_tag(msgspec.msgpack.decode(packed)):
                return None
            raise
    text = fields.get(b"j")
    if text is None:
        raise ValueError(f"an entry needs the field d or j, not {sorted(fields)!r}")
    return _decode_json_record(text)


def _is_unknown_tag(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], str) and value[0] not in _record_types


def _decode_json_record(text: bytes) -> AnyRecord | None:
    value = msgspec.json.decode(text)
    record_type = _record_types.get(str(value["tag"])) if isinstance(value, dict) and "tag" in value else None
    if record_type is None:
        return None
    names = list(record_type.__struct_fields__)
    # Fields are only ever appended: what an older writer left out at the end has its default.
    while names and names[-1] not in value:
        names.pop()
    rows, columns = ROWS.get(value["tag"], ("", 0))
    items: list[Any] = [value["tag"]]
    for name in names:
        item = value.get(name)
        if name == rows and isinstance(item, list):
            item = [[*map(int, row[:columns]), *row[columns:]] for row in item]
        items.append(int(item) if isinstance(item, str) and name.endswith("_ns") else item)
    return msgspec.convert(items, type=record_type)


def encode_reply(reply: Reply, encoding: Encoding = "json") -> bytes:
    """The value of a reply entry. Replies are JSON by default: people read them."""
    return _json_encoder.encode(reply) if encoding == "json" else encode_msgpack(reply)


def decode_reply(fields: Mapping[bytes, bytes]) -> Reply:
    """The reply of one entry, by its field."""
    packed = fields.get(b"d")
    return _reply_msgpack_decoder.decode(packed) if packed is not None else _reply_decoder.decode(fields[b"j"])


def encode_command(command: AnyCommand, encoding: Encoding = "json") -> bytes:
    """The value of a command entry."""
    return _json_encoder.encode(command) if encoding == "json" else encode_msgpack(command)


def decode_command(fields: Mapping[bytes, bytes]) -> AnyCommand:
    """The command of one entry, with `id` and `client` as written (empty when left out).

    Raises:
        BadCommand: too long, not an object, an unknown operation or field, or a value of the wrong type.
    """
    packed, text = fields.get(b"d"), fields.get(b"j")
    if (packed is None) == (text is None):
        raise BadCommand("a command entry has exactly one of the fields j (JSON) and d (msgpack)")
    raw = packed if packed is not None else text
    assert raw is not None
    if len(raw) > COMMAND_BYTES_MAX:
        raise BadCommand(f"a command is at most {COMMAND_BYTES_MAX} bytes, this one has {len(raw)}")
    try:
        if packed is not None:
            return _command_msgpack_decoder.decode(packed)
        return _command_json_decoder.decode(raw)
    except RecursionError:
        raise BadCommand("the command is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _explained(raw, packed is not None, str(error)) from None


def _explained(raw: bytes, packed: bool, message: str) -> BadCommand:
    """A `BadCommand` with as much of client, id and op as can still be read, so that its writer gets the answer."""
    try:
        value: Any = msgspec.msgpack.decode(raw) if packed else msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return BadCommand(f"the command cannot be decoded: {message}")
    if not isinstance(value, dict):
        return BadCommand("a command is an object such as " + json.dumps({"op": "status"}))
    client, id_, op = (str(value.get(name) or "")[:200] for name in ("client", "id", "op"))
    tags = {str(cls.__struct_config__.tag) for cls in AnyCommand.__args__}
    known = ", ".join(sorted(tags))
    if not op:
        return BadCommand(f"the command has no op; known: {known}", client=client, id=id_)
    if op not in tags:
        return BadCommand(f"op {op!r} is unknown; known: {known}", code="unsupported", client=client, id=id_)
    return BadCommand(message, client=client, id=id_)
