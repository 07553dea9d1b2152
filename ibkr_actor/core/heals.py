"""Owns the gaps that are refilled from history: which, in what order, and what is published when it is there.

Matches no record (`core.healing`) and holds no live one: what is refilled comes behind those that came meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final, Literal

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, Publish, Tell
from ibkr_actor.core.healing import Healing, Tap
from ibkr_actor.core.kinds import KindRow
from ibkr_actor.core.lines import Channel
from ibkr_actor.core.messages import FetchPast, ForgetPast, PastDone, PastRows
from ibkr_actor.core.sessions import NS
from ibkr_actor.schema.records import FLAG_LATE, DataRecord, Done, Gap

_HOLES_MAX: Final = 20
_DAY_NS: Final = 86_400 * NS
# Why IB has nothing, where nothing is missing.
_NOT_MISSING: Final = frozenset({"before_head"})
_TICKS: Final = {"Last": "TRADES", "BidAsk": "BID_ASK", "MidPoint": "MIDPOINT"}

Timer = Literal["fetch", "end"]


def can_heal(row: KindRow) -> bool:
    """Whether IB has the history that a gap of this kind could be refilled from."""
    return (row.line_type == "bars" and not row.built) or row.tick_type in _TICKS


class Heals:
    """Gaps by number, which is negative: those of `core.backfills` are positive, and answers go by it."""

    def __init__(self, config: SubscriptionsConfig) -> None:
        self._config = config
        # Gaps that the hot path cut since the last look.
        self.cuts: list[Healing] = []
        # number -> gap; the first `heals_open_max` of them are fetched, the others wait for their turn.
        self._open: OrderedDict[int, Healing] = OrderedDict()
        self._fetching: set[int] = set()
        self._timers = Deadlines[tuple[int, Timer]]()
        self._count = 0
        self._refilled = 0
        self._failed = 0
        self._last_failure = ""

    def next_wakeup_s(self) -> float | None:
        return self._timers.next_s()

    def status(self) -> dict[str, object]:
        return {
            "open": len(self._open),
            "refilled": self._refilled,
            "failed": self._failed,
            "last_failure": self._last_failure or None,
        }

    def tap(self, channel: Channel) -> None:
        """Gaps of the stream are refilled from now on, if IB has history of its kind."""
        if channel.tap is None and can_heal(channel.row):
            channel.tap = Tap(channel, self.cuts)

    def stop(self, channel: Channel) -> list[Effect]:
        """The stream ends: nothing more is fetched for it."""
        channel.tap = None
        self.cuts[:] = [healing for healing in self.cuts if healing.channel is not channel]
        gone = [healing for healing in self._open.values() if healing.channel is channel]
        return [effect for healing in gone for effect in self._close(healing)]

    def stop_all(self) -> list[Effect]:
        """The process ends: gaps stay as they were announced."""
        self.cuts.clear()
        return [effect for healing in list(self._open.values()) for effect in self._close(healing)]

    # ---- when to fetch

    def look(self, now: Instant) -> None:
        """Takes up what the hot path cut. History of the seam is there a little later."""
        for healing in self.cuts:
            self._count += 1
            healing.number = -self._count
            if len(self._open) >= self._config.heals_max:
                self._fail(healing, f"{self._config.heals_max} gaps are being refilled already")
                continue
            self._open[healing.number] = healing
            self._timers.set((healing.number, "fetch"), now.s + self._config.backfill_settle_s)
        self.cuts.clear()

    def wake_up(self, now: Instant) -> list[Effect]:
        """Fetches what it is time for, and gives up what did not come."""
        effects: list[Effect] = []
        for number, timer in self._timers.due(now.s):
            healing = self._open.get(number)
            if healing is None:
                continue
            if timer == "fetch":
                effects += self._fetch(healing, now)
            else:
                self._fail(healing, f"its history did not come within {self._config.backfill_timeout_s:g} s")
                effects += self._close(healing) + self._next(now)
        return effects

    def _next(self, now: Instant) -> list[Effect]:
        """Others may have their turn."""
        effects: list[Effect] = []
        for healing in list(self._open.values()):
            if len(self._fetching) >= self._config.heals_open_max:
                break
            if healing.number not in self._fetching and (healing.number, "fetch") not in self._timers:
                effects += self._fetch(healing, now)
        return effects

    def _fetch(self, healing: Healing, now: Instant) -> list[Effect]:
        if len(self._fetching) >= self._config.heals_open_max:
            return []
        row, line, gap = healing.channel.row, healing.channel.line, healing.gap
        if healing.right_ns is None:
            assert gap.to_ns is not None
            healing.right_ns = gap.to_ns // NS * NS
        left_ns, right_ns = healing.left_ns, healing.right_ns
        ticks = row.line_type != "bars"
        if right_ns < left_ns or (right_ns == left_ns and not ticks):
            return self._refilled_with(healing, [], now)
        if right_ns - left_ns > self._config.backfill_days * _DAY_NS:
            self._fail(healing, f"it is longer than {self._config.backfill_days} days")
            return self._close(healing)
        self._fetching.add(healing.number)
        self._timers.set((healing.number, "end"), now.s + self._config.backfill_timeout_s)
        bar, show = ("", _TICKS[row.tick_type or "Last"]) if ticks else ("5s", line.what_to_show)
        start = datetime.fromtimestamp(left_ns // NS, UTC).isoformat()
        fetch = FetchPast(healing.number, "", line.source, bar, show, row.rth, start, right_ns, "backfill")
        return [Tell("history", fetch)]

    # ---- what came

    def rows(self, message: PastRows) -> list[Effect]:
        """The next history of a gap, behind what is live."""
        healing = self._open.get(message.number)
        return [] if healing is None else self._publish(healing, healing.take(message.entries))

    def done(self, message: PastDone, now: Instant) -> list[Effect]:
        """All the history there is: the gap is said once more, as refilled, behind what was missing of it."""
        healing = self._open.get(message.number)
        if healing is None:
            return []
        done = message.done
        if done.outcome not in ("complete", "incomplete"):
            self._fail(healing, done.message or done.outcome)
            return self._close(healing) + self._next(now)
        return self._refilled_with(healing, [*healing.end(), *_holes(healing, done, now)], now)

    def _refilled_with(self, healing: Healing, records: list[DataRecord], now: Instant) -> list[Effect]:
        gap = healing.gap
        word = _gap(healing, gap.cause, gap.from_ns, gap.to_ns, now, refilled=True)
        self._refilled += 1
        self._forget(healing)
        return self._publish(healing, [*records, word]) + self._next(now)

    def _fail(self, healing: Healing, why: str) -> None:
        self._failed += 1
        self._last_failure = f"{healing.channel.stream.name}: {why}"

    def _close(self, healing: Healing) -> list[Effect]:
        """Nothing more comes of it, and nothing more is wanted of history."""
        effects: list[Effect] = (
            [Tell("history", ForgetPast(healing.number))] if healing.number in self._fetching else []
        )
        self._forget(healing)
        return effects

    def _forget(self, healing: Healing) -> None:
        self._open.pop(healing.number, None)
        self._fetching.discard(healing.number)
        self._timers.clear((healing.number, "fetch"))
        self._timers.clear((healing.number, "end"))

    def _publish(self, healing: Healing, records: list[DataRecord]) -> list[Effect]:
        stream = healing.channel.stream
        return [Publish([(stream, record) for record in records])] if records else []


def _holes(healing: Healing, done: Done, now: Instant) -> list[Gap]:
    spans = [(hole.from_ns, hole.to_ns) for hole in done.holes if hole.reason not in _NOT_MISSING]
    if len(spans) > _HOLES_MAX:
        spans = [(spans[0][0], spans[-1][1])]
    return [_gap(healing, "no_history", from_ns, to_ns, now) for from_ns, to_ns in spans]


def _gap(
    healing: Healing, cause: str, from_ns: int | None, to_ns: int | None, now: Instant, *, refilled: bool = False
) -> Gap:
    line = healing.channel.line
    flags = line.flags | FLAG_LATE
    return Gap(0, 0, line.con_id, now.ns, None, line.feed, flags, cause, from_ns, to_ns, refilled=refilled)
