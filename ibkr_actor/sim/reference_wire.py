"""Owns the requests and messages of reference data, as text and protobuf.

Must not answer anything; requests.py and responses.py merge its tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibkr_actor.sim.layout import Layout
    from ibkr_actor.sim.messages import Message
    from ibkr_actor.sim.request_base import Reader

READERS: dict[int, Reader] = {}
LAYOUTS: dict[type[Message], Layout] = {}
