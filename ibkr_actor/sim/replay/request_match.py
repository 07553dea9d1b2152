"""Owns whether two requests ask for the same, apart from their req_id.

Must not read bytes; requests come as their structs, and as a remainder of bytes where there is no struct.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ibkr_actor.sim.market.instruments import ContractSpec
from ibkr_actor.sim.replay.frame_recording import Exchange
from ibkr_actor.sim.wire.request_base import Plain, Request

# What a client writes in a field it does not use.
_UNUSED = ("", "0", "?", 0, 0.0, None)


def same_request(request: Request, rest: bytes, recorded: Exchange) -> bool:
    """Whether everything is equal but the req_id."""
    if type(request) is not type(recorded.request):
        return False
    if isinstance(request, Plain):
        return rest == recorded.rest
    return _without_id(request) == _without_id(recorded.request)


def like_request(request: Request, recorded: Exchange) -> bool:
    """Whether all parameters are equal and the contracts contradict each other nowhere, as two clients name one."""
    if type(request) is not type(recorded.request) or isinstance(request, Plain):
        return False
    ours, theirs = _without_id(request), _without_id(recorded.request)
    return all(_alike(name, value, theirs[name]) for name, value in ours.items())


def like_contract(ours: ContractSpec, theirs: ContractSpec) -> bool:
    """Whether two descriptions can mean one instrument: a field that one of them leaves open does not count."""
    pairs = {name: (value, getattr(theirs, name)) for name, value in _fields(ours).items()}
    if any(a != b and a not in _UNUSED and b not in _UNUSED for a, b in pairs.values()):
        return False
    named = (pairs["con_id"], pairs["symbol"], pairs["local_symbol"], pairs.get("sec_id", ("", "")))
    return any(a == b and a not in _UNUSED for a, b in named)


def find_request(request: Request, rest: bytes, recorded: Iterable[Exchange]) -> list[Exchange]:
    """The recorded requests that ask for the same, in order: exact ones, or else those that are alike."""
    recorded = list(recorded)
    exact = [each for each in recorded if same_request(request, rest, each)]
    return exact or [each for each in recorded if like_request(request, each)]


def _alike(name: str, ours: Any, theirs: Any) -> bool:
    if isinstance(ours, ContractSpec) and isinstance(theirs, ContractSpec):
        return like_contract(ours, theirs)
    if name == "generic_ticks":
        return set(str(ours).split(",")) == set(str(theirs).split(","))
    return bool(ours == theirs)


def _without_id(request: Request) -> dict[str, Any]:
    return {name: value for name, value in _fields(request).items() if name != "req_id"}


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
