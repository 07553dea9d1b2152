"""`ibkr-actor commands`: any command from the shell, with its replies; or the list of operations, from the Structs.

What a command may hold is the schema's to say.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import json
import sys
import types
import uuid
from collections.abc import Iterator
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import anyio
import msgspec
from msgspec import UNSET, UnsetType, structs
from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import Refused, refuse, require_sidecar, say_json
from ibkr_actor.cli.main import EXIT_CONFIGURATION, EXIT_NO
from ibkr_actor.client.connect import BLOCK_MS_MAX
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.codec import BadCommand, decode_command, decode_reply, encode_command
from ibkr_actor.schema.commands import AnyCommand, Renew, Reply
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.keys import Keys

# Operations whose `accepted` is followed by more under the same id.
GOES_ON: Final = frozenset({"subscribe", "history", "history_ticks"})
# What every command may carry: the fields of one that has none of its own.
COMMON: Final = Renew.__struct_fields__
FINAL: Final = frozenset({"result", "done", "rejected", "expired", "active"})


def operations() -> dict[str, type[Any]]:
    """Every operation with its Struct, in the order of the schema."""
    return {str(cls.__struct_config__.tag): cls for cls in get_args(AnyCommand)}


def main(arguments: argparse.Namespace) -> int:
    """0 when every command was accepted, 1 when one was refused, 2 for one that makes no sense."""
    op = arguments.op
    if op is None or arguments.describe:
        if op is not None and op not in operations():
            raise _unknown(op)
        for name in [op] if op else operations():
            said = described(name)
            if arguments.json:
                say_json(said)
            else:
                print("\n".join(text(said)))
        return 0
    return with_redis(_send_all, arguments)


async def _send_all(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    status = 0
    try:
        await require_sidecar(redis, keys)
        for command in commands_of(arguments):
            # Not by call(): it returns the first reply only.
            status = max(status, await _send(redis, keys, command, arguments))
    except Refused as error:
        return refuse(error)
    return status


async def _send(redis: Redis, keys: Keys, command: AnyCommand, arguments: argparse.Namespace) -> int:
    client = command.client or arguments.client
    command = structs.replace(command, id=command.id or uuid.uuid4().hex, client=client)
    op = str(command.__struct_config__.tag)
    replies = keys.replies(client)
    newest: list[Any] = await redis.xrevrange(replies, count=1) or []
    position: Any = newest[0][0] if newest else b"0"
    await redis.xadd(keys.commands(), {"j": encode_command(command)})
    within: float | None = arguments.timeout
    while True:
        with anyio.move_on_after(within) as waiting:
            answer: Any = await redis.xread({replies: position}, block=BLOCK_MS_MAX)
            while not answer:
                answer = await redis.xread({replies: position}, block=BLOCK_MS_MAX)
        if waiting.cancelled_caught:
            raise Refused(f"no answer to {op} within {arguments.timeout:g} s: is a sidecar running for {keys.root}?")
        for entry_id, fields in answer[0][1]:
            position = entry_id
            try:
                reply = decode_reply(fields)
            except (KeyError, msgspec.MsgspecError):
                continue  # nothing that a sidecar wrote
            if reply.id != command.id:
                continue
            say_json(as_object(reply))
            if reply.error is not None:
                return EXIT_CONFIGURATION if reply.error.code == "validation_error" else EXIT_NO
            if reply.status == "expired":
                return EXIT_NO
            if not arguments.wait or reply.status in FINAL or (reply.status == "accepted" and op not in GOES_ON):
                return 0
            within = None  # no data on a closed market: it may take until the morning


def as_object(reply: Reply) -> dict[str, Any]:
    """A reply without what it leaves empty."""
    value: dict[str, Any] = msgspec.to_builtins(reply)
    return {name: item for name, item in value.items() if item is not None}


def commands_of(arguments: argparse.Namespace) -> Iterator[AnyCommand]:
    """The commands that the arguments or the lines of standard input hold.

    Raises:
        ConfigurationError: one is none.
    """
    if arguments.op == "-":
        for number, line in enumerate(sys.stdin, 1):
            if line.strip():
                yield _from_json(line, f"line {number}")
    elif arguments.op.lstrip().startswith("{"):
        if arguments.fields:
            raise ConfigurationError("a command in JSON takes no further FIELD=VALUE")
        yield _from_json(arguments.op, "the command")
    else:
        yield from_fields(arguments.op, arguments.fields)


def _from_json(text: str, where: str) -> AnyCommand:
    try:
        return decode_command({b"j": text.strip().encode()})
    except BadCommand as error:
        raise ConfigurationError(f"{where}: {error}") from None


def from_fields(op: str, fields: list[str]) -> AnyCommand:
    """`subscribe`, [`instrument=AAPL`, `kinds=quote,trade`] as a command.

    Raises:
        ConfigurationError: no such operation or field, or a value that does not fit.
    """
    kind = operations().get(op)
    if kind is None:
        raise _unknown(op)
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals:
            raise ConfigurationError(f"{field!r} is no FIELD=VALUE")
        if name not in kind.__struct_fields__:
            raise ConfigurationError(f"{op} has no field {name!r}; it has {', '.join(own_fields(kind)) or 'none'}")
        values[name] = _value(name, hints[name], value)
    try:
        # Once from text to the field's type, once as the sidecar will read it.
        command = msgspec.convert({"op": op} | values, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{op}: {error}") from None
    return _from_json(encode_command(command).decode(), op)


def _unknown(op: str) -> ConfigurationError:
    near = difflib.get_close_matches(op, operations(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(operations())}"
    return ConfigurationError(f"no operation is called {op!r}; {hint}")


def _value(name: str, hint: Any, value: str) -> Any:
    if value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ConfigurationError(f"{name}: no JSON: {error}") from None
    lists = any(get_origin(part) is list for part in (hint, *get_args(hint)))
    return [part for part in value.split(",") if part] if lists else value


def own_fields(kind: type[Any]) -> list[str]:
    """The fields that the operation has and not every command."""
    return [name for name in kind.__struct_fields__ if name not in COMMON]


def described(op: str) -> dict[str, Any]:
    """An operation with its fields: name, type, and default or `required`."""
    kind = operations()[op]
    hints = get_type_hints(kind)
    rows = []
    for field in structs.fields(kind):
        if field.name in COMMON:
            continue
        row: dict[str, Any] = {"name": field.name, "type": type_name(hints[field.name]), "required": field.required}
        if not field.required and field.default not in (msgspec.NODEFAULT, UNSET, "", None):
            row["default"] = field.default
        rows.append(row)
    return {"op": op, "does": " ".join((inspect.getdoc(kind) or "").split()), "fields": rows}


def type_name(hint: Any) -> str:
    """`text`, `number`, `list of text`, ...: as one writes it, without what Python calls it."""
    origin = get_origin(hint)
    if origin is list:
        return f"list of {type_name(get_args(hint)[0])}"
    if origin is Literal:
        return " or ".join(str(each) for each in get_args(hint))
    if origin in (Union, types.UnionType):
        parts = [type_name(each) for each in get_args(hint) if each not in (UnsetType, type(None))]
        return " or ".join(dict.fromkeys(parts))
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", InstrumentQuery: "object"}
    return names.get(hint, getattr(hint, "__name__", str(hint)).lower())


def text(said: dict[str, Any]) -> list[str]:
    """The same for a person."""
    out = [said["op"], f"  {said['does']}"]
    for row in said["fields"]:
        more = ", required" if row["required"] else f", default {row['default']}" if "default" in row else ""
        out.append(f"    {row['name']:<18}{row['type']}{more}")
    return out
