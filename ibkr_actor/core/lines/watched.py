"""Owns what is told of the freshness of anything under observation: a line or a chain.

Judges nothing itself (`core.lines.freshness` does) and decides nothing that follows from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from ibkr_actor.core.effects import Announce, Effect, Instant, SetFreshness
from ibkr_actor.core.lines.freshness import Facts, Freshness, Watch
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import System

_NAMED_MAX: Final = 5
_TOLD: Final[dict[Freshness, str]] = {
    "stale": "silent in market hours for longer than usual",
    "fresh": "heard again",
    "quiet": "silent with a reason",
}


class Watched(Protocol):
    """What is observed: its streams, their state, and when the newest data came."""

    watch: Watch | None
    state: str
    reason: str
    newest_ns: int

    @property
    def streams(self) -> list[Stream]: ...


def is_waited_for(watched: Watched) -> bool:
    """Whether its silence may still be judged: not while it is silent for a reason that has its own cure."""
    return watched.state in ("live", "pending") or (watched.state, watched.reason) == ("starved", "farm")


def judged(watched: Watched, watch: Watch, facts: Facts, now: Instant) -> list[Effect]:
    """Judges it, and tells a change. Affects: `state`, `reason` and `since_ns` of the watch."""
    state, reason = watch.judge(facts, now)
    if state == "stale" and not watched.newest_ns and not watch.state and watched.state == "pending":
        return []  # asked for just now, and nothing is missing yet
    if state == "stale" and watched.state == "starved":
        reason = watched.reason
    watch.reason = reason
    if state == watch.state:
        return []
    watch.state, watch.since_ns = state, now.ns
    return freshness_of(watched)


def freshness_of(watched: Watched, stream: Stream | None = None) -> list[Effect]:
    """What readers are told of each of its streams, or of one; nothing before it was judged."""
    watch = watched.watch
    if watch is None or not watch.state:
        return []
    streams = watched.streams if stream is None else [stream]
    return [SetFreshness(stream, watch.state, watch.since_ns, watched.newest_ns) for stream in streams]


def listed_freshness(watched: Watched) -> dict[str, object]:
    """The same for a list of subscriptions; texts, since nanoseconds are no exact numbers in JSON."""
    watch = watched.watch
    return {
        "freshness": watch.state or None if watch else None,
        "freshness_since_ns": str(watch.since_ns) if watch and watch.state else None,
        "received_ns": str(watched.newest_ns) if watched.newest_ns else None,
    }


def stopped(watched: Watched, watch: Watch, now: Instant) -> list[Effect]:
    """Nothing is heard any more, and nobody will judge it."""
    if watch.state in ("", "stale"):
        return []
    watch.state, watch.since_ns = "stale", now.ns
    return freshness_of(watched)


def message_of(state: Freshness, changed: Sequence[Watched], now: Instant) -> Announce:
    """One message for all that changed alike. Affects: `said` of their watches."""
    reasons: Counter[str] = Counter()
    for one in changed:
        assert one.watch is not None
        one.watch.said = state
        reasons[one.watch.reason] += 1
    names = [stream.name for one in changed for stream in one.streams]
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common() if reason)
    count = "1 stream is" if len(names) == 1 else f"{len(names)} streams are"
    text = f"{count} {state}, {_TOLD[state]}{f' ({why})' if why else ''}: "
    subject = names[0] if len(names) == 1 else "streams"
    message = text + ", ".join(names[:_NAMED_MAX]) + more + "."
    return Announce(System(0, 0, now.ns, "subscription", state, subject, message))
