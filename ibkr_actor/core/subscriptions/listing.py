"""Owns what a `list` answers: each stream with its state and its holders.

Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from ibkr_actor.core.effects import Instant
from ibkr_actor.core.holders import PRIORITIES
from ibkr_actor.core.lines.line import Channel, Line
from ibkr_actor.core.lines.watched import listed_freshness
from ibkr_actor.core.subscriptions.holdings import Holdings


def listed(lines: Iterable[Line], holdings: Holdings, client: str, now: Instant) -> list[dict[str, object]]:
    """All streams with their holders, or those that one client holds."""
    return [
        _row(line, channel, holdings, now)
        for line in lines
        for channel in line.channels.values()
        if not client or client in channel.holders
    ]


def _row(line: Line, channel: Channel, holdings: Holdings, now: Instant) -> dict[str, object]:
    return {
        "instrument": line.key[0],
        "kind": channel.stream.kind,
        "stream": holdings.names([channel.stream])[0],
        "con_id": line.con_id,
        "state": line.state,
        "reason": channel.reason,
        "since_ns": str(line.since_ns),
        **listed_freshness(line),
        "feed": line.feed,
        "generic_ticks": sorted(line.generic_ticks),
        "holders": [
            {
                "client": holder.client,
                "priority": PRIORITIES[holder.priority],
                "lease_s": holder.lease_s,
                "left_s": _left_s(holdings.leases.at((channel.stream, name)), now),
            }
            for name, holder in channel.holders.items()
        ],
    }


def _left_s(at_s: float | None, now: Instant) -> float | None:
    return None if at_s is None else round(max(0.0, at_s - now.s), 1)
