"""Text frames that list where there are order books: the official decoder reads a number that is empty as zero.

Protobuf frames of the kind go through the official decoder, which knows there what is absent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ibkr_actor.core.reference.events import DepthExchange, DepthExchangeList
from ibkr_actor.tws.broken import BadFrame
from ibkr_actor.tws.text import Fields

# From when on a row says where the exchange lists, what it serves and its group. Source: ibapi.server_versions.
SERVICE_DATA_TYPE: Final = 120
MESSAGE: Final = 80


def depth_exchanges(server_version: int) -> Callable[[list[bytes], int], DepthExchangeList]:
    """Message 80."""
    detailed = server_version >= SERVICE_DATA_TYPE
    fields_each = 5 if detailed else 3

    def decode(fields: list[bytes], ns: int) -> DepthExchangeList:
        left = Fields(fields)
        rows = left.number()
        if not 0 <= rows * fields_each <= len(fields):
            raise BadFrame(f"{rows} rows in {len(fields)} fields")
        return DepthExchangeList(tuple(row(left) for _ in range(rows)))

    def row(left: Fields) -> DepthExchange:
        exchange, sec_type = left.text(), left.text()
        if detailed:
            return DepthExchange(exchange, sec_type, left.text(), left.text(), left.count())
        left.skip()
        return DepthExchange(exchange, sec_type, "", "", None)

    return decode


def text_handlers(server_version: int) -> dict[int, Callable[[list[bytes], int], DepthExchangeList]]:
    """As `text.handlers`."""
    return {MESSAGE: depth_exchanges(server_version)}
