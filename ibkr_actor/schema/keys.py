"""Keys: the names of everything in Redis, and the kinds of stream there are.

Holds no connection and writes nothing.
"""

from __future__ import annotations

import difflib
import re
from typing import Final

from msgspec import Struct

# A client's name: it stands at the end of the keys of its commands, replies and answers.
CLIENT_PATTERN: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# Sizes a live bar may have; `5s` come from IB's real-time bars, the others are kept up to date by IB.
BAR_SIZES: Final = (
    "5s", "10s", "15s", "30s", "1m", "2m", "3m", "5m", "10m", "15m", "20m", "30m",
    "1h", "2h", "3h", "4h", "8h", "1d", "1w", "1M",
)  # fmt: skip
# Sizes that can be built here of bars of 5 s: weeks and months would take as long to be whole.
BUILT_SIZES: Final = BAR_SIZES[1:-2]
# What a bar is made of (trades when it does not say), and in which hours.
BAR_SHOWS: Final = ("", ".bid", ".ask", ".midpoint")
BAR_HOURS: Final = ("", ".rth")
# The families of kinds, as help and errors name them.
KIND_FAMILIES: Final = (
    "quote",
    "tick",
    "greeks",
    "news",
    "trade",
    "alltrade",
    "bidask",
    "midpoint",
    "depth",
    "depth.smart",
    "bar.<size>[.bid|.ask|.midpoint][.rth][.built]",
)
KINDS_HELP: Final = f"{', '.join(KIND_FAMILIES)}; a size is one of {' '.join(BAR_SIZES)}"


def bar_kind(size: str, show: str = "", hours: str = "", *, built: bool = False) -> str:
    """`bar.1m.bid.rth.built`: a size, what it is made of, in which hours, and whether it is built here."""
    return f"bar.{size}{show}{hours}{'.built' if built else ''}"


# Every kind this version serves.
KINDS: Final = (
    *KIND_FAMILIES[:-1],
    *(bar_kind(size, show, hours) for size in BAR_SIZES for hours in BAR_HOURS for show in BAR_SHOWS),
    *(bar_kind(size, show, hours, built=True) for size in BUILT_SIZES for hours in BAR_HOURS for show in BAR_SHOWS),
)


# The kind of a stream that holds a whole chain of options; it has a command of its own.
CHAIN: Final = "chain"
# Kinds of streams that are of no instrument: what a scan ranks, under the scan's name, and IB's bulletins.
SCAN: Final = "scan"
BULLETIN: Final = "bulletin"
# The name that the one stream of bulletins has in place of an instrument.
ALL_BULLETINS: Final = "all"
# Kinds that have a command of their own, with it.
OWN_COMMAND: Final = {CHAIN: "chain", SCAN: "scan", BULLETIN: "bulletins"}


def no_kind(name: str) -> str:
    """What to say of a kind that nobody may subscribe to: which may have been meant, and which there are."""
    if name in OWN_COMMAND:
        return f"{name!r} is held with a command of its own: {OWN_COMMAND[name]}"
    near = difflib.get_close_matches(name[:50], KINDS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{name[:50]!r} is no kind{hint}; known: {KINDS_HELP}"


class Stream(Struct, frozen=True):
    """One data stream of one gateway: a kind of one instrument."""

    kind: str
    instrument: str

    @property
    def name(self) -> str:
        """`kind:instrument`, as it stands at the end of its key."""
        return f"{self.kind}:{self.instrument}"


class Keys(Struct, frozen=True):
    """Every key of one gateway. The braces are a Redis Cluster hash tag: all keys of a gateway share a slot."""

    prefix: str = "ibkr"
    gateway: str = "g1"

    @property
    def root(self) -> str:
        return f"{self.prefix}:{{{self.gateway}}}"

    def stream(self, kind: str, instrument: str) -> str:
        """The data stream of a kind and instrument."""
        return f"{self.root}:{kind}:{instrument}"

    def last(self, instrument: str) -> str:
        """The hash of last values of an instrument."""
        return f"{self.root}:last:{instrument}"

    def commands(self, client: str = "") -> str:
        """The shared command stream, or a client's own."""
        return f"{self.root}:commands:{client}" if client else f"{self.root}:commands"

    def replies(self, client: str) -> str:
        return f"{self.root}:replies:{client}"

    def answered(self, client: str) -> str:
        return f"{self.root}:answered:{client}"

    def all(self, kind: str) -> str:
        """The optional stream of every record of a kind."""
        return f"{self.root}:all:{kind}"

    @property
    def streams(self) -> str:
        return f"{self.root}:streams"

    @property
    def system(self) -> str:
        return f"{self.root}:system"

    @property
    def heartbeat(self) -> str:
        return f"{self.root}:heartbeat"

    @property
    def metrics(self) -> str:
        """The sidecar's own figures, beside the heartbeat."""
        return f"{self.root}:metrics"

    @property
    def external(self) -> str:
        """Prices that others handed in over HTTP: not IB's."""
        return f"{self.root}:external"

    @property
    def subscriptions(self) -> str:
        return f"{self.root}:subscriptions"

    @property
    def contracts(self) -> str:
        return f"{self.root}:contracts"

    def history(self, job: str) -> str:
        """The result of one history job."""
        return f"{self.root}:history:{job}"

    @property
    def jobs(self) -> str:
        """History jobs that are not done: what a restart goes on with."""
        return f"{self.root}:jobs"

    @property
    def windows(self) -> str:
        """Windows of bars that IB gave; `windows:used` tells when each was used last, `windows:bytes` what all take."""
        return f"{self.root}:windows"

    @property
    def pacing(self) -> str:
        """What was asked of IB of late: a restart must not ask too much."""
        return f"{self.root}:pacing"

    @property
    def dead(self) -> str:
        return f"{self.root}:dead"

    @property
    def leader(self) -> str:
        return f"{self.root}:leader"

    @property
    def epoch(self) -> str:
        return f"{self.root}:epoch"
