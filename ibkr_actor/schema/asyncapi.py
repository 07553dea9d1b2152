"""The AsyncAPI 3 document: channels are the keys of the streams, messages what stands in them, made from the Structs.

Describes the sidecar's side (it sends records and receives commands); writes no file.
"""

from __future__ import annotations

import inspect
from typing import Any, Final, get_args

from ibkr_actor import __version__
from ibkr_actor.schema.commands import AnyCommand
from ibkr_actor.schema.json_schema import Schema, definitions, tag_of
from ibkr_actor.schema.keys import BAR_SIZES
from ibkr_actor.schema.records import AnyRecord, Record

ROOT: Final = "{prefix}:{gateway}"
# Records that may stand in any stream of data.
_EVERYWHERE: Final = ("gap", "reset", "end", "roll")
# Channel -> (the key behind the root, the tags of its records, what it holds).
_DATA: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "quote": ("quote:{instrument}", ("quote",), "The top of book after each price or size message."),
    "tick": ("tick:{instrument}", ("tick",), "Every other level-1 tick."),
    "greeks": ("greeks:{instrument}", ("greeks",), "What IB computes of an option."),
    "news": ("news:{instrument}", ("news",), "Headlines about the instrument."),
    "trade": ("trade:{instrument}", ("trade",), "Trades, tick by tick."),
    "alltrade": ("alltrade:{instrument}", ("trade",), "Trades, with those not in the consolidated tape."),
    "bidask": ("bidask:{instrument}", ("bidask",), "Changes of the best bid and ask, tick by tick."),
    "midpoint": ("midpoint:{instrument}", ("midpoint",), "Changes of the midpoint, tick by tick."),
    "depth": ("depth:{instrument}", ("depth",), "The order book of one exchange."),
    "depth.smart": ("depth.smart:{instrument}", ("depth",), "The order books of all exchanges together."),
    "bar": ("bar.{bar}:{instrument}", ("bar",), "Finished bars."),
    "chain": ("chain:{chain}", ("option", "chain"), "A chain of options, and what it consists of."),
    "scan": ("scan:{scan}", ("scan",), "What a scan of the market ranks, each time that IB ranks anew."),
    "bulletin": ("bulletin:all", ("bulletin",), "IB's bulletins."),
    "all": ("all:{kind}", (), "Every record of a kind, of all instruments; off unless IBKR_ALL_KINDS names the kind."),
    "history": ("history:{job}", ("bars", "ticks", "done"), "The result of one history job, closed by `done`."),
    "system": ("system", ("system", "reset"), "Connection, farms, subscriptions, gaps, pacing, Redis."),
}
_PARAMETERS: Final[dict[str, Schema]] = {
    "prefix": {"description": "IBKR_PREFIX.", "default": "ibkr"},
    "gateway": {
        "description": "IBKR_GATEWAY_NAME in braces, which are part of the key (a Redis Cluster hash tag).",
        "default": "{g1}",
        "examples": ["{g1}"],
    },
    "instrument": {
        "description": "The canonical id of the contract.",
        "examples": ["AAPL.STK.SMART.USD", "EUR.CASH.IDEALPRO.USD"],
    },
    "bar": {
        "description": f"The size ({' '.join(BAR_SIZES)}), then what it is made of (.bid, .ask, .midpoint; trades "
        "without), .rth for regular hours, .built for one that is built here.",
        "examples": ["5s", "1m.bid.rth"],
    },
    "chain": {"description": "The name that the reply to `chain` tells."},
    "scan": {"description": "The name that the reply to `scan` tells."},
    "kind": {"description": "The kind of the streams it gathers.", "examples": ["quote"]},
    "job": {"description": "The name that the reply to `history` tells."},
    "client": {"description": "The name of a client, [A-Za-z0-9_.-], at most 64.", "examples": ["strat-1"]},
}


def asyncapi() -> Schema:
    """The whole document, as JSON."""
    tags = [tag_of(kind) for kind in get_args(AnyRecord)]
    ops = [tag_of(kind) for kind in get_args(AnyCommand)]
    data = [tag_of(kind) for kind in get_args(AnyRecord) if issubclass(kind, Record)]
    channels = {name: _data_channel(name, data) for name in _DATA}
    commanded = [f"command.{op}" for op in ops]
    channels["commands"] = _channel("commands", commanded, "Commands of anyone who may write them.")
    channels["commands.client"] = _channel(
        "commands:{client}", commanded, "Commands of one client that IBKR_COMMANDERS names."
    )
    channels["replies"] = _channel("replies:{client}", ["reply"], "The replies to one client; expires.")
    operations = {f"publish.{name}": _operation("send", name, f"Published: {_DATA[name][2]}") for name in _DATA}
    operations["command"] = _operation("receive", "commands", "A command; its replies come under the client's name.")
    operations["command"]["reply"] = {"channel": {"$ref": "#/channels/replies"}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ibkr_actor",
            "version": __version__,
            "description": "Market data of Interactive Brokers in Redis Streams. Every entry has one field: `d` holds "
            "msgpack, `j` holds JSON (x-redis-field). docs/STREAMS.md says what the fields mean and how to read them.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/msgpack",
        "servers": {"redis": {"host": "127.0.0.1:6379", "protocol": "redis", "description": "IBKR_REDIS_URL."}},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": _messages(tags),
            "parameters": _PARAMETERS,
            "schemas": {name: draft_7(schema) for name, schema in sorted(definitions().items())},
        },
    }


def _data_channel(name: str, data: list[str]) -> Schema:
    address, tags, description = _DATA[name]
    own = tags if tags else tuple(tag for tag in data if tag not in ("bars", "ticks", "done"))
    more = () if name in ("history", "system") or not tags else _EVERYWHERE
    messages = [f"{form}.{tag}" for tag in dict.fromkeys((*own, *more)) for form in ("packed", "record")]
    return _channel(address, messages, description)


def _channel(address: str, messages: list[str], description: str) -> Schema:
    whole = f"{ROOT}:{address}"
    return {
        "address": whole,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "parameters": {
            name: {"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS if "{" + name + "}" in whole
        },
        "x-redis-type": "stream",
    }


def _operation(action: str, channel: str, summary: str) -> Schema:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _messages(tags: list[str]) -> dict[str, Schema]:
    out: dict[str, Schema] = {}
    for tag in tags:
        out[f"packed.{tag}"] = _message(f"packed.{tag}", "d", f"A `{tag}` record as msgpack (the default).")
        out[f"record.{tag}"] = _message(f"record.{tag}", "j", f"A `{tag}` record as JSON (IBKR_ENCODING=json).")
    for kind in get_args(AnyCommand):
        first = (inspect.getdoc(kind) or "").splitlines()[0]
        out[f"command.{tag_of(kind)}"] = _message(f"command.{tag_of(kind)}", "j", first)
    out["reply"] = _message("reply", "j", "One reply to a command.")
    return out


def _message(schema: str, field: str, summary: str) -> Schema:
    return {
        "name": schema,
        "summary": summary,
        "contentType": "application/msgpack" if field == "d" else "application/json",
        "payload": {"$ref": f"#/components/schemas/{schema}"},
        "x-redis-field": field,
    }


def draft_7(value: Any) -> Any:
    """The same schema in the words of draft 7, which AsyncAPI's own schemas are: tuples, and where references lead."""
    if isinstance(value, list):
        return [draft_7(item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {key: draft_7(item) for key, item in value.items() if key not in ("prefixItems", "items")}
    if "$ref" in value:
        out["$ref"] = value["$ref"].replace("#/$defs/", "#/components/schemas/")
    if "prefixItems" in value:
        out["items"] = draft_7(value["prefixItems"])
        if "items" in value:
            out["additionalItems"] = draft_7(value["items"])
    elif "items" in value:
        out["items"] = draft_7(value["items"])
    return out
