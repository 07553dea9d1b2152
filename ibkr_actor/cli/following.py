"""Prints the items of a feed as they come.

Opens none.
"""

from __future__ import annotations

from typing import Any

from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.cli.sub import line
from ibkr_actor.client import Feed, Refused


async def follow(feed: Feed[Any], *, as_json: bool, count: int | None) -> int:
    """0 after `count` items, for ever without; 1 when what it reads was refused."""
    shown = 0
    async for item in feed:
        print(line(item, as_json=as_json, many=False), flush=True)
        shown += 1
        if isinstance(item.record, Refused):
            return EXIT_NO
        if count and shown >= count:
            break
    return 0
