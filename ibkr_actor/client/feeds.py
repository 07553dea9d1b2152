"""The feeds a client offers, one method for each kind of data, and the keywords that they take.

Opens none: a feed begins with its first loop.
"""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypedDict, Unpack

from msgspec import UNSET

from ibkr_actor.client.feed import Desk, Feed, Wish
from ibkr_actor.client.holding import Instrument
from ibkr_actor.client.items import AnyItem, Notice
from ibkr_actor.client.opening import Start
from ibkr_actor.schema.commands import FeedName, PriorityName, Subscribe
from ibkr_actor.schema.keys import KINDS, OWN_COMMAND, Stream, bar_kind, no_kind
from ibkr_actor.schema.records import (
    Bar,
    BidAsk,
    Bulletin,
    ChainWindow,
    Depth,
    Greeks,
    MidPoint,
    News,
    Option,
    Quote,
    Ranking,
    System,
    Tick,
    Trade,
)
from ibkr_actor.schema.reference_commands import BoardCommand, Chain, HoldBulletins, HoldScan

_STARTS: Final = ("last", "now", "first")
# What may be watched beside the kinds; of the first two a gateway has one each.
_SINGLE: Final = ("system", "external")
_OF_MANY: Final = (*OWN_COMMAND, "all", "history")


class FeedOptions(TypedDict, total=False):
    """The keywords that every feed takes; docs/CLIENT.md says what each does."""

    start: Start
    conflate_s: float | None
    group: str | None
    consumer: str | None
    claim_idle_s: float
    shared: bool
    generic_ticks: Sequence[int]
    backfill: str
    heal: bool
    feed: FeedName
    fallback: bool
    priority: PriorityName
    refused: Literal["raise", "yield"]


class Feeds(ABC):
    """What can be read; a `Client` says over which connections."""

    name: str  # the client's, and that of its consumer in a group

    @property
    @abstractmethod
    def _at_work(self) -> Desk:
        """What the feeds share. Raises: RuntimeError before the client is entered."""

    def quotes(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[Quote | Notice]:
        """The top of book after each message of IB."""
        return Feed(self._at_work, self._wish(("quote",), instruments, options))

    def ticks(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[Tick | Notice]:
        """All other level-1 ticks."""
        return Feed(self._at_work, self._wish(("tick",), instruments, options))

    def greeks(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[Greeks | Notice]:
        """What IB computes of options."""
        return Feed(self._at_work, self._wish(("greeks",), instruments, options))

    def news(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[News | Notice]:
        """Headlines about instruments, of the providers the login is subscribed to."""
        return Feed(self._at_work, self._wish(("news",), instruments, options))

    def trades(
        self, *instruments: Instrument, all: bool = False, **options: Unpack[FeedOptions]
    ) -> Feed[Trade | Notice]:
        """Trades tick by tick; `all` has those that are not in the consolidated tape too."""
        return Feed(self._at_work, self._wish(("alltrade" if all else "trade",), instruments, options))

    def bidasks(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[BidAsk | Notice]:
        """The best bid and ask tick by tick."""
        return Feed(self._at_work, self._wish(("bidask",), instruments, options))

    def midpoints(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[MidPoint | Notice]:
        """The midpoint tick by tick."""
        return Feed(self._at_work, self._wish(("midpoint",), instruments, options))

    def bars(
        self,
        *instruments: Instrument,
        size: str = "5s",
        of: Literal["trades", "bid", "ask", "midpoint"] = "trades",
        rth: bool = False,
        built: bool = False,
        **options: Unpack[FeedOptions],
    ) -> Feed[Bar | Notice]:
        """Bars; `rth` has regular trading hours only, `built` are made here of bars of 5 s."""
        kind = bar_kind(size, "" if of == "trades" else f".{of}", ".rth" if rth else "", built=built)
        return Feed(self._at_work, self._wish((kind,), instruments, options))

    def depth(
        self, *instruments: Instrument, smart: bool = False, **options: Unpack[FeedOptions]
    ) -> Feed[Depth | Notice]:
        """Changes of order books; `smart` has those of all exchanges together."""
        return Feed(self._at_work, self._wish(("depth.smart" if smart else "depth",), instruments, options))

    def chain(
        self,
        instrument: Instrument,
        *,
        expiry: str | int | builtins.list[str] = "nearest",
        moneyness_range: float | None = None,
        strike_range: tuple[float, float] | None = None,
        right: Literal["C", "P", "both"] = "both",
        exchange: str = "",
        trading_class: str = "",
        lines: int | None = None,
        **options: Unpack[FeedOptions],
    ) -> Feed[Option | ChainWindow | Notice]:
        """The options on an underlying: `Option` records of the members, and `ChainWindow`s that say what those are."""
        command = Chain(
            instrument=instrument,
            expiry=expiry,
            moneyness_range=moneyness_range,
            strike_range=strike_range,
            right=right,
            exchange=exchange,
            trading_class=trading_class,
            lines=lines,
        )
        return Feed(self._at_work, self._reading(options, (command,)))

    def scan(
        self,
        scan_code: str,
        *,
        scan_instrument: str = "STK",
        location: str = "STK.US.MAJOR",
        rows: int = 50,
        above_price: float | None = None,
        below_price: float | None = None,
        above_volume: int | None = None,
        filters: Mapping[str, str] | None = None,
        **options: Unpack[FeedOptions],
    ) -> Feed[Ranking | Notice]:
        """What a scan of the market ranks, each time that IB ranks anew: about every 30 s."""
        command = HoldScan(
            scan_code=scan_code,
            scan_instrument=scan_instrument,
            location=location,
            rows=rows,
            above_price=above_price,
            below_price=below_price,
            above_volume=above_volume,
            filters=dict(filters or {}),
        )
        return Feed(self._at_work, self._reading(options, (command,)))

    def bulletins(self, **options: Unpack[FeedOptions]) -> Feed[Bulletin | Notice]:
        """IB's bulletins: its own news, and exchanges that come and go."""
        return Feed(self._at_work, self._reading(options, (HoldBulletins(),)))

    def stream(
        self, kinds: str | Sequence[str], *instruments: Instrument, **options: Unpack[FeedOptions]
    ) -> Feed[AnyItem]:
        """Any kinds of any instruments in one feed."""
        return Feed(
            self._at_work, self._wish((kinds,) if isinstance(kinds, str) else tuple(kinds), instruments, options)
        )

    def watch(self, *streams: str | Stream, **options: Unpack[FeedOptions]) -> Feed[AnyItem]:
        """Streams that somebody else holds, as `kind:instrument` or by their full keys."""
        if not streams:
            raise ValueError("a feed needs a stream")
        names = tuple(one.name if isinstance(one, Stream) else one for one in streams)
        for name in names:
            kind, colon, instrument = name.removeprefix(f"{self._at_work.keys.root}:").partition(":")
            if not (kind in _SINGLE if not colon else instrument and (kind in KINDS or kind in _OF_MANY)):
                raise ValueError(f"{name!r} is no stream: kind:instrument, with the canonical id, or a full key")
        return Feed(self._at_work, self._wish((), (), options, names))

    def system(self, **options: Unpack[FeedOptions]) -> Feed[System | Notice]:
        """What happens to the sidecar: connection, farms, subscriptions, gaps, pacing."""
        return Feed(self._at_work, self._wish((), (), options, (self._at_work.keys.system,)))

    # ---- inside

    def _wish(
        self,
        kinds: tuple[str, ...],
        instruments: tuple[Instrument, ...],
        options: FeedOptions,
        watched: tuple[str, ...] = (),
    ) -> Wish:
        if not watched and not instruments:
            raise ValueError("a feed needs an instrument")
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise ValueError(no_kind(unknown[0]))
        commands = tuple(
            Subscribe(
                instrument=instrument,
                kinds=list(kinds),
                generic_ticks=sorted(options.get("generic_ticks", ())),
                backfill=options.get("backfill", ""),
                heal=options.get("heal", UNSET),
                feed=options.get("feed", ""),
                fallback=options.get("fallback", False),
                priority=options.get("priority", "normal"),
            )
            for instrument in instruments
        )
        return self._reading(options, commands, watched)

    def _reading(
        self,
        options: FeedOptions,
        commands: tuple[Subscribe | Chain | BoardCommand, ...],
        watched: tuple[str, ...] = (),
    ) -> Wish:
        group, conflate_s = options.get("group") or "", options.get("conflate_s")
        if group and conflate_s is not None:
            raise ValueError("a group hands out every record: conflate_s goes without group")
        if conflate_s is not None and conflate_s <= 0:
            raise ValueError("conflate_s is a number of seconds above 0")
        start = options.get("start", "last")
        if isinstance(start, str) and start not in _STARTS:
            raise ValueError(f"start is one of {', '.join(_STARTS)}, or checkpoints, not {start!r}")
        return Wish(
            commands=commands,
            watched=watched,
            start=start,
            conflate_s=conflate_s,
            group=group,
            consumer=options.get("consumer") or self.name,
            claim_idle_s=options.get("claim_idle_s", 60.0),
            shared=options.get("shared", False),
            refused=options.get("refused", "raise"),
        )
