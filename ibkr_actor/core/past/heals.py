"""Owns the gaps that are refilled from history: which, in what order, how often it is tried, and what is published.

Matches no record (`core.past.healing`) and holds no live one: what is refilled comes behind those that came meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, Publish, Tell
from ibkr_actor.core.lines.line import Channel, PendingGap
from ibkr_actor.core.messages import FetchPast, ForgetPast, PastDone, PastRows
from ibkr_actor.core.past.built_healing import BuiltTap
from ibkr_actor.core.past.healing import Healing, Tap, can_heal
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.records import FLAG_LATE, DataRecord, Gap

_HOLES_MAX: Final = 20
_DAY_NS: Final = 86_400 * NS
# Why IB has nothing, where nothing is missing.
_NOT_MISSING: Final = frozenset({"before_head"})
_NO_ANSWER: Final = "no_answer"
# History that fails is asked for again after so long, and each time twice as long.
_RETRY_S: Final = 30.0
_RETRY_MAX_S: Final = 600.0

Timer = Literal["fetch", "end"]


class Heals:
    """Gaps by number, which is negative: those of `core.past.backfills` are positive, and answers go by it."""

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
        retried = sum(1 for healing in self._open.values() if healing.tries)
        return {
            "open": len(self._open),
            "retried": retried,
            "refilled": self._refilled,
            "failed": self._failed,
            "last_failure": self._last_failure or None,
        }

    def tap(self, channel: Channel) -> None:
        """Gaps of the stream are refilled from now on, if IB has history of its kind."""
        if channel.tap is None and can_heal(channel.row):
            channel.tap = (BuiltTap if channel.row.built else Tap)(channel, self.cuts)

    def resume(self, channel: Channel, tail: Sequence[DataRecord]) -> None:
        """The process begins anew with a stream that ended so: what came since is missing.

        Affects: `gap` and `published` of the channel.
        """
        if channel.tap is None or channel.published or not tail:
            return
        for record in tail:
            channel.tap.note(record)
        channel.published = True
        channel.gap = PendingGap("restart", tail[-1].received_ns)

    def stop(self, channel: Channel) -> list[Effect]:
        """The stream ends: nothing more is fetched for it."""
        channel.tap = None
        self.cuts[:] = [healing for healing in self.cuts if healing.channel is not channel]
        gone = [healing for healing in self._open.values() if healing.channel is channel]
        return [effect for healing in gone for effect in self._close(healing)]

    def stop_all(self, now: Instant) -> list[Effect]:
        """The process ends: what was not refilled will not be."""
        waiting, self.cuts[:] = [*self._open.values(), *self.cuts], []
        return [effect for healing in waiting for effect in self._give_up(healing, "the sidecar stopped", now)]

    # ---- when to fetch

    def look(self, now: Instant) -> list[Effect]:
        """Takes up what the hot path cut. History of the seam is there a little later."""
        effects: list[Effect] = []
        for healing in self.cuts:
            self._count += 1
            healing.number = -self._count
            if len(self._open) >= self._config.heals_max:
                effects += self._give_up(healing, f"{self._config.heals_max} gaps are being refilled already", now)
                continue
            self._open[healing.number] = healing
            wait_s = max(0, healing.ready_ns - now.ns) / NS
            self._timers.set((healing.number, "fetch"), now.s + wait_s + self._config.backfill_settle_s)
        self.cuts.clear()
        return effects

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
                why = f"its history did not come within {self._config.backfill_timeout_s:g} s"
                effects += self._give_up(healing, why, now) + self._next(now)
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
        left_ns, right_ns = healing.left_ns, healing.end_ns
        assert right_ns is not None
        if right_ns < left_ns or (right_ns == left_ns and healing.bar):
            return self._refilled_with(healing, [], now)
        if right_ns - left_ns > self._config.backfill_days * _DAY_NS:
            return self._give_up(healing, f"it is longer than {self._config.backfill_days} days", now)
        self._fetching.add(healing.number)
        if (healing.number, "end") not in self._timers:
            self._timers.set((healing.number, "end"), now.s + self._config.backfill_timeout_s)
        start = datetime.fromtimestamp(left_ns // NS, UTC).isoformat()
        show = healing.what_to_show
        fetch = FetchPast(healing.number, "", line.source, healing.bar, show, row.rth, start, right_ns, "backfill")
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
            return self._broke_off(healing, done.message or done.outcome, message.error, now)
        missing = [hole for hole in done.holes if hole.reason not in _NOT_MISSING]
        unanswered = [(hole.from_ns, hole.to_ns) for hole in missing if hole.reason == _NO_ANSWER]
        if unanswered and healing.unanswered(unanswered):
            healing.holes += [(hole.from_ns, hole.to_ns) for hole in missing if hole.reason != _NO_ANSWER]
            return self._broke_off(healing, done.message or done.outcome, message.error, now)
        healing.holes += [(hole.from_ns, hole.to_ns) for hole in missing]
        if healing.next_part():
            self._fetching.discard(healing.number)
            return self._fetch(healing, now)
        spans = sorted(set(healing.holes))
        if len(spans) > _HOLES_MAX:
            spans = [(spans[0][0], spans[-1][1])]
        holes = [_gap(healing, "no_history", from_ns, to_ns, now) for from_ns, to_ns in spans]
        return self._refilled_with(healing, [*healing.end(), *holes], now)

    def _broke_off(self, healing: Healing, why: str, error: Rejection | None, now: Instant) -> list[Effect]:
        """History failed: it is asked for again by and by, unless IB said that this will not help."""
        self._fetching.discard(healing.number)
        if error is not None and not error.retryable:
            return self._give_up(healing, why, now) + self._next(now)
        self._last_failure = f"{healing.channel.stream.name}: {why}"
        wait_s = max(_RETRY_S * 2.0 ** min(healing.tries, 10), (error.retry_after_s if error else None) or 0.0)
        healing.retry()
        self._timers.set((healing.number, "fetch"), now.s + min(wait_s, _RETRY_MAX_S))
        return self._next(now)

    def _refilled_with(self, healing: Healing, records: list[DataRecord], now: Instant) -> list[Effect]:
        gap = healing.gap
        word = _gap(healing, gap.cause, gap.from_ns, gap.to_ns, now, refilled=True)
        self._refilled += 1
        self._forget(healing)
        return self._publish(healing, [*records, word]) + self._next(now)

    def _give_up(self, healing: Healing, why: str, now: Instant) -> list[Effect]:
        """The gap stays, and its stream says so."""
        self._failed += 1
        self._last_failure = f"{healing.channel.stream.name}: {why}"
        word = _gap(healing, "no_history", healing.gap.from_ns, healing.gap.to_ns, now)
        return self._close(healing) + self._publish(healing, [word])

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


def _gap(
    healing: Healing, cause: str, from_ns: int | None, to_ns: int | None, now: Instant, *, refilled: bool = False
) -> Gap:
    line = healing.channel.line
    flags = line.flags | FLAG_LATE
    return Gap(0, 0, line.con_id, now.ns, None, line.feed, flags, cause, from_ns, to_ns, refilled=refilled)
