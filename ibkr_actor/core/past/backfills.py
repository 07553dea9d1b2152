"""Owns the streams that begin with their past: what of it to fetch when, and that each goes live in the end.

Matches no record (`core.past.joining`) and asks IB nothing: the history core fetches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final, Literal

from msgspec import Struct, structs

from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, HolderWrite, Instant, Publish, Tell, WriteHolders
from ibkr_actor.core.history.interval import asked
from ibkr_actor.core.holders import Holder, holder_write
from ibkr_actor.core.kinds import KindRow
from ibkr_actor.core.lines.line import Channel
from ibkr_actor.core.messages import FetchPast, ForgetPast, PastDone, PastRows
from ibkr_actor.core.past.heals import Heals
from ibkr_actor.core.past.joining import Fetch, Joining, Wish
from ibkr_actor.schema.records import DataRecord, Gap

# What is fetched before there is live data ends this long ago: clocks differ, and the newest history is still growing.
EARLY_MARGIN_NS: Final = 60 * NS
BAR_NS: Final = 5 * NS
_LENGTH: Final = re.compile(r"(\d{1,7})([smhd])")
_DAY_NS: Final = 86_400 * NS
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
# Holes of history that are told one by one; more of them are one gap.
_GAPS_MAX: Final = 20
# Why IB has nothing, where nothing is missing.
_NOT_MISSING: Final = frozenset({"before_head"})

# `look`: fetch what it is time for; `end`: the history is late; `keep`: it stands in the stream for good.
Timer = Literal["look", "end", "keep"]


class _Past(Struct, frozen=True):
    """The history that a kind of stream has; `bar` empty for ticks."""

    bar: str
    what_to_show: str


_TICKS: Final = {"Last": "TRADES", "BidAsk": "BID_ASK", "MidPoint": "MIDPOINT"}


def past_of(row: KindRow, what_to_show: str = "") -> _Past | None:
    """Which history a kind can begin with; `what_to_show` is what its bars are made of. None when there is none."""
    if row.size:
        return _Past(row.size, what_to_show or row.what_to_show)
    show = _TICKS.get(row.tick_type or "")
    return None if show is None else _Past("", show)


def read_wish(text: str, days_max: int, now_ns: int) -> Wish:
    """Reads `backfill`.

    Raises: ValueError with one line that says what is wrong.
    """
    found = _LENGTH.fullmatch(text)
    if found is not None:
        length_s = int(found[1]) * _SECONDS[found[2]]
        if not 0 < length_s <= days_max * 86_400:
            raise ValueError(f"backfill {text!r} is not between 1s and {days_max}d; ask `history` for more")
        return Wish(length_s=length_s)
    try:
        since = asked(text, "", now_ns).since
    except ValueError:
        since = None
    if since is None:
        raise ValueError(
            f"backfill {text[:50]!r} is neither a length (90s, 15m, 2h, 1d) nor a start in the past in ISO 8601"
        )
    # The trade date of a day may begin the evening before it.
    if now_ns - _ns(since) > (days_max + 1) * _DAY_NS:
        raise ValueError(f"backfill begins more than {days_max} days ago; ask `history` for more")
    return Wish(start=text)


def _ns(since: date | datetime) -> int:
    at = since if isinstance(since, datetime) else datetime(since.year, since.month, since.day, tzinfo=UTC)
    return int(at.timestamp()) * NS


class Backfills:
    """Streams that are not live yet. Affects: `joining` of their channels."""

    def __init__(self, config: SubscriptionsConfig) -> None:
        self._config = config
        self.heals = Heals(config)
        # number -> stream; set by `begin`, cleared when it goes live or its channel closes.
        self.open: dict[int, Joining] = {}
        # number -> stream that went live; a restart begins with its past again until that surely stands in Redis.
        self._kept: dict[int, Channel] = {}
        self._timers = Deadlines[tuple[int, Timer]]()
        self._count = 0
        self._joined = 0
        self._resumed = 0
        self._dropped = 0

    def next_wakeup_s(self) -> float | None:
        times = (self._timers.next_s(), self.heals.next_wakeup_s())
        return min((at_s for at_s in times if at_s is not None), default=None)

    def status(self) -> dict[str, object]:
        dropped = self._dropped + sum(joining.dropped for joining in self.open.values())
        counts = {"resumed": self._resumed, "dropped": dropped}
        return {"heals": self.heals.status(), "open": len(self.open), "joined": self._joined, **counts}

    def begin(self, channel: Channel, wish: Wish, client: str, now: Instant) -> Joining:
        """The channel holds its live data back from now on."""
        self._count += 1
        joining = Joining(self._count, channel, client, wish, held_max=self._config.backfill_held_max)
        channel.joining = self.open[joining.number] = joining
        self._timers.set((joining.number, "look"), now.s + self._config.backfill_wait_s)
        return joining

    def resume(self, channel: Channel, holder: Holder, tail: Sequence[DataRecord], now: Instant) -> None:
        """Goes on with what was begun before the process started, behind `tail`, the end of what stands in the stream.

        Without one it is begun again. What lies too far back by now will be a gap.
        """
        if channel.joining is not None:
            return
        begin_ns: int | None = None
        try:
            wish = read_wish(holder.backfill, self._config.backfill_days, now.ns)
        except ValueError:
            # Written by this, and legal then: it is only too long ago.
            wish = Wish(start=holder.backfill)
            begin_ns = _ns(asked(holder.backfill, "", now.ns).since)
        joining = self.begin(channel, wish, holder.client, now)
        joining.reached_ns = begin_ns
        if tail:
            joining.resume(tail)
        self._resumed += 1

    def stop(self, channel: Channel) -> list[Effect]:
        """The channel closes: nothing more is fetched for it."""
        for number in [number for number, kept in self._kept.items() if kept is channel]:
            del self._kept[number]
            self._timers.clear((number, "keep"))
        joining, channel.joining = channel.joining, None
        effects = self.heals.stop(channel) if channel.tap is not None else []
        return effects if joining is None else effects + self._forget(joining)

    def stop_all(self, now: Instant) -> list[Effect]:
        """The process ends: the next one goes on behind what was published. What is held it fetches."""
        effects = self.heals.stop_all(now)
        for joining in list(self.open.values()):
            effects += self._forget(joining)
        return effects

    # ---- when to fetch

    def look(self, now: Instant) -> list[Effect]:
        """Live data came, perhaps for some of them."""
        effects = self.heals.look(now)
        for joining in list(self.open.values()):
            if joining.live_s is None and joining.first_ns is not None:
                joining.live_s = now.s
                self._timers.set((joining.number, "look"), now.s + self._config.backfill_settle_s)
        return effects

    def wake_up(self, now: Instant) -> list[Effect]:
        """Fetches what it is time for; gives up what did not come."""
        effects = self.heals.wake_up(now)
        for number, timer in self._timers.due(now.s):
            joining = self.open.get(number)
            if timer == "keep":
                effects += self._stands(self._kept.pop(number))
            elif joining is not None:
                effects += self._next(joining, now) if timer == "look" else self._late(joining, now)
        return effects

    def _stands(self, channel: Channel) -> list[Effect]:
        """All of it stands in Redis: a restart need not look. Affects: the holders of the channel."""
        writes: list[HolderWrite] = []
        for client, holder in channel.holders.items():
            holder = channel.holders[client] = structs.replace(holder, backfill="")
            writes.append(holder_write(channel.stream, holder, channel.line.contract))
        return [WriteHolders(tuple(writes))]

    def _next(self, joining: Joining, now: Instant) -> list[Effect]:
        if joining.fetch is not None:
            return []
        first_ns = joining.first_ns
        if first_ns is not None:
            at_s = (now.s if joining.live_s is None else joining.live_s) + self._config.backfill_settle_s
            if now.s < at_s:
                self._timers.set((joining.number, "look"), at_s)
                return []
            return self._fetch(joining, first_ns, now, final=True)
        if joining.early:
            return []
        if not joining.channel.line.sent:
            # What comes between now and the first live record is fetched later, but that must not be everything.
            self._timers.set((joining.number, "look"), now.s + self._config.backfill_wait_s)
            return []
        return self._fetch(joining, (now.ns - EARLY_MARGIN_NS) // BAR_NS * BAR_NS, now, final=False)

    def _fetch(self, joining: Joining, to_ns: int, now: Instant, *, final: bool) -> list[Effect]:
        """Asks for all up to `to_ns` that the stream does not have; when there is nothing, it goes on."""
        wish, row = joining.wish, joining.channel.row
        effects = self._too_long_ago(joining, to_ns, now)
        from_ns = joining.reached_ns
        if from_ns is None and not wish.start:
            from_ns = to_ns - wish.length_s * NS + (0 if final else EARLY_MARGIN_NS)
        joining.begin(Fetch(from_ns, to_ns, final))
        # The seam's second of ticks is always looked at, since its begin may lie before the first live one.
        ticks = row.line_type == "tick_by_tick"
        end_ns = to_ns if final or not ticks else to_ns - NS
        if from_ns is not None and (end_ns < from_ns or (end_ns == from_ns and not ticks)):
            return effects + self._over(joining, now, whole=True, gaps=[])
        past = past_of(row, joining.channel.line.what_to_show)
        assert past is not None
        start = wish.start if from_ns is None else _text(from_ns)
        self._timers.set((joining.number, "end"), now.s + self._config.backfill_timeout_s)
        contract = joining.channel.line.source
        fetch = FetchPast(joining.number, joining.client, contract, past.bar, past.what_to_show, row.rth, start, end_ns)
        return [*effects, Tell("history", fetch)]

    def _too_long_ago(self, joining: Joining, to_ns: int, now: Instant) -> list[Effect]:
        """After a long time without this process more is missing than is fetched: that is a gap."""
        from_ns = joining.reached_ns
        limit_ns = to_ns - (self._config.backfill_days + 1) * _DAY_NS
        if from_ns is None or from_ns >= limit_ns:
            return []
        joining.reached_ns = limit_ns
        return self._publish(joining, [joining.gap("no_history", from_ns, limit_ns, now.ns)])

    # ---- what came

    def rows(self, message: PastRows, now: Instant) -> list[Effect]:
        """The next history of a stream."""
        if message.number < 0:
            return self.heals.rows(message)
        joining = self.open.get(message.number)
        return [] if joining is None else self._publish(joining, joining.take(message.entries))

    def done(self, message: PastDone, now: Instant) -> list[Effect]:
        """All the history there is."""
        if message.number < 0:
            return self.heals.done(message, now)
        joining = self.open.get(message.number)
        if joining is None or joining.fetch is None:
            return []
        done = message.done
        if done.outcome not in ("complete", "incomplete"):
            return self._failed(joining, now)
        holes = [hole for hole in done.holes if hole.reason not in _NOT_MISSING]
        spans = [(hole.from_ns, hole.to_ns) for hole in holes]
        if len(spans) > _GAPS_MAX:
            spans = [(spans[0][0], spans[-1][1])]
        gaps = [joining.gap("no_history", from_ns, to_ns, now.ns) for from_ns, to_ns in spans]
        return self._over(joining, now, whole=True, gaps=gaps)

    def _failed(self, joining: Joining, now: Instant) -> list[Effect]:
        """No history: of what was fetched early another attempt is made when live data comes."""
        fetch = joining.fetch
        assert fetch is not None
        if not fetch.final:
            return self._over(joining, now, whole=False, gaps=[])
        return self._over(joining, now, whole=False, gaps=[self._missing(joining, now)])

    def _missing(self, joining: Joining, now: Instant) -> Gap:
        from_ns = joining.reached_ns
        if from_ns is None and joining.fetch is not None:
            from_ns = joining.fetch.from_ns
        first_ns = joining.first_ns
        return joining.gap("no_history", from_ns, now.ns if first_ns is None else first_ns, now.ns)

    def _late(self, joining: Joining, now: Instant) -> list[Effect]:
        """The history did not come in time, which does not run while there is no connection."""
        if joining.fetch is None:
            return []
        if joining.channel.line.req_id is None:
            self._timers.set((joining.number, "end"), now.s + self._config.backfill_timeout_s)
            return []
        return [Tell("history", ForgetPast(joining.number)), *self._failed(joining, now)]

    def _over(self, joining: Joining, now: Instant, *, whole: bool, gaps: list[Gap]) -> list[Effect]:
        """A fetch is over: the stream goes live, or waits for live data."""
        self._timers.clear((joining.number, "end"))
        assert joining.fetch is not None
        if joining.fetch.final:
            return self._join(joining, gaps, now)
        effects = self._publish(joining, [*joining.fetched(whole=whole), *gaps])
        if joining.first_ns is None:
            return effects
        return effects + self._next(joining, now)

    def _join(self, joining: Joining, gaps: list[Gap], now: Instant) -> list[Effect]:
        effects = self._publish(joining, joining.join(gaps, now.ns))
        joining.channel.joining = None
        self._close(joining)
        self._joined += 1
        self._kept[joining.number] = joining.channel
        self._timers.set((joining.number, "keep"), now.s + self._config.backfill_keep_s)
        return effects

    def _forget(self, joining: Joining) -> list[Effect]:
        self._dropped += joining.held
        self._close(joining)
        return [Tell("history", ForgetPast(joining.number))] if joining.fetch is not None else []

    def _close(self, joining: Joining) -> None:
        del self.open[joining.number]
        self._dropped += joining.dropped
        self._timers.clear((joining.number, "look"))
        self._timers.clear((joining.number, "end"))

    def _publish(self, joining: Joining, records: list[DataRecord]) -> list[Effect]:
        stream = joining.channel.stream
        return [Publish([(stream, record) for record in records])] if records else []


def _text(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).isoformat()
