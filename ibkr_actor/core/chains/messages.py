"""Messages between the subscriptions and the reference actor about which options a chain consists of.

Shapes only.
"""

from __future__ import annotations

from msgspec import Struct

from ibkr_actor.core.chains.window import ChainSpec
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.instruments import Contract


class FindChain(Struct, frozen=True):
    """Look up which options of the wish are listed; answered by ChainFound or ChainNotFound."""

    name: str
    underlying: Contract
    spec: ChainSpec
    client: str


class ChainFound(Struct, frozen=True):
    """All of them, with their canonical ids and without their hours; `market` is one of them that has them."""

    name: str
    contracts: tuple[Contract, ...]
    market: Contract | None = None


class ChainNotFound(Struct, frozen=True):
    """There are none, or it cannot be said now."""

    name: str
    rejection: Rejection
