"""Owns what follows from a line's silence: its freshness is told, a `stall` or `farm` gap opens, and it is asked anew.

Judges no line itself: `core.freshness` does. Knows no command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Effect, Instant, SetFreshness
from ibkr_actor.core.freshness import Facts, Freshness, Watch
from ibkr_actor.core.line_book import LineBook
from ibkr_actor.core.lines import Line, LineKey
from ibkr_actor.core.messages import FarmChanged
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import FLAG_SNAPSHOT, System

# Between two messages of one sort; what changes meanwhile is told together.
_SAY_EVERY_S: Final = 30.0
_SAY_AFTER_LOOKS: Final = 3
_NAMED_MAX: Final = 5
# What was in flight when a farm went still comes; a shorter absence touches nothing.
_IN_FLIGHT_S: Final = 1.0
_FARM_LOOK_S: Final = 1.0
# Lines are asked anew one after the other, and each more rarely the longer that does not help.
_PROBE_APART_S: Final = 0.2
_DOUBLINGS_MAX: Final = 5
_TOLD: Final[dict[Freshness, str]] = {
    "stale": "silent in market hours for longer than usual",
    "fresh": "heard again",
    "quiet": "silent with a reason",
}


class Silences:
    """Looks at all lines about once a second. Caller: `SubscriptionsCore` only; affects lines by their book."""

    def __init__(self, config: SubscriptionsConfig, book: LineBook) -> None:
        self.config = config
        self._book = book
        self._next_s: float | None = None
        # When any line was last heard.
        self._heard_s = 0.0
        # When something of a state was last said; see `_SAY_EVERY_S`.
        self._said_s: dict[Freshness, float] = {}
        # Market data farms that are down -> since when.
        self._farms: dict[str, float] = {}
        # Lines that were silenced since the first of them went.
        self._touched: set[LineKey] = set()

    def next_s(self) -> float | None:
        """When to look next; None when there is nothing to look at."""
        return (self._next_s or 0.0) if self._book.lines and self.config.sweep_s > 0 else None

    # ---- looking

    def sweep(self, now: Instant) -> list[Effect]:
        """Looks at every line, when it is time to."""
        if self.config.sweep_s <= 0 or (self._next_s is not None and now.s < self._next_s):
            return []
        # While a farm is away it is looked more closely: data may be back before the word that it is.
        self._next_s = now.s + min(self.config.sweep_s, _FARM_LOOK_S if self._farms else self.config.sweep_s)
        looked = [(line, watch_of(line, self.config), _facts(line)) for line in self._lines()]
        for _, watch, facts in looked:
            if watch.look(facts, now):
                self._heard_s = now.s
        effects = self._farm_silence(looked, now) + self._silent(looked, now)
        for line, watch, _ in looked:
            effects += self._judge(line, watch, now)
        return effects + self._say([(line, watch) for line, watch, _ in looked], now)

    def _lines(self) -> Iterable[Line]:
        return (line for line in list(self._book.lines.values()) if not line.flags & FLAG_SNAPSHOT)

    def _silent(self, looked: list[tuple[Line, Watch, Facts]], now: Instant) -> list[Effect]:
        """Lines that fell silent, or were asked for in vain: a gap begins, and they are to be asked for again."""
        waiting = [found for found in looked if found[0].req_id is not None and _is_waited_for(found[0])]
        overdue = [found for found in waiting if found[1].overdue(found[2], now)]
        spoke = [found for found in waiting if found[2].live and found[1].phase.is_open]
        together = len({line.key[0] for line, _, facts in overdue if facts.live}) > 1
        if together and now.s - self._heard_s >= self.config.stale_min_s:
            # Nothing comes any more: that concerns the slow ones too.
            overdue += [found for found in spoke if found not in overdue and not found[2].halted]
        effects: list[Effect] = []
        for n, (line, watch, _) in enumerate(overdue):
            if line.doubt is not None:
                continue
            watch.lone = not together
            if line.live:
                line.lose("farm" if self._farms else "stall", line.newest_ns)
            effects += self._starve(line, watch, n, now)
        return effects

    def _starve(self, line: Line, watch: Watch, n: int, now: Instant) -> list[Effect]:
        probe_s = self.config.stale_probe_s
        if probe_s <= 0:
            line.live, line.watched = False, True
            return self._book.set_state(line, "starved", "silent", now)
        doublings = min(line.asks, _DOUBLINGS_MAX)
        again_s = max(0.0, probe_s * 2.0**doublings - watch.silent_s(now)) + n * _PROBE_APART_S
        return self._book.starve(line, "silent", now, again_s=again_s)

    def _judge(self, line: Line, watch: Watch, now: Instant) -> list[Effect]:
        facts = _facts(line)
        state, reason = watch.judge(facts, now)
        if state == "stale" and not line.newest_ns and not watch.state and line.state == "pending":
            return []  # asked for just now, and nothing is missing yet
        if state == "stale" and line.state == "starved":
            reason = line.reason
        watch.reason = reason
        if state == watch.state:
            return []
        watch.state, watch.since_ns = state, now.ns
        return freshness_of(line)

    # ---- what others tell

    def heard(self, line: Line, now: Instant) -> list[Effect]:
        """The first data after a request or a loss."""
        watch = watch_of(line, self.config)
        watch.look(_facts(line), now)
        return self._judge(line, watch, now)

    def session_over(self) -> None:
        """The next connection tells its farms anew."""
        self._farms.clear()
        self._touched.clear()

    def farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        """A market data farm went down or is back. IB does not say whose it is: it touched what fell silent with it.

        A line that was not heard since the farm went has a gap, begun when it was last heard; one that spoke meanwhile
        is of another farm. Data may overtake the word that it is back.
        """
        watched = [(line, watch_of(line, self.config)) for line in self._lines()]
        for line, watch in watched:
            if watch.look(_facts(line), now):
                self._heard_s = now.s
        if not message.is_up:
            self._farms.setdefault(message.name, now.s)
            return []
        effects: list[Effect] = []
        from_s = self._farms.pop(message.name, now.s)
        for line, watch in watched:
            if line.live and self._silent_since(watch, from_s, now):
                # Slow enough for that to be no alarm, but what it would have said is not known.
                self._touched.add(line.key)
                for channel in line.channels.values():
                    channel.lose("farm", line.newest_ns)
            if line.state == "starved" and line.reason == "farm":
                effects += self._book.set_state(line, "pending", "farm_restored", now)
        if self._touched and not self._farms:
            effects.append(_flapped(message, len(self._touched), now))
            self._touched.clear()
        return effects

    def _silent_since(self, watch: Watch, from_s: float, now: Instant) -> bool:
        """Whether nothing was heard since a farm went, but for what was in flight then."""
        in_flight_s = max(_IN_FLIGHT_S, self.config.sweep_s)
        return watch.phase.is_open and now.s - from_s > in_flight_s and watch.heard_s <= from_s + in_flight_s

    def _farm_silence(self, looked: list[tuple[Line, Watch, Facts]], now: Instant) -> list[Effect]:
        """Lines that fell silent when a farm went, and are quicker than that as a rule."""
        if not self._farms:
            return []
        from_s = min(self._farms.values())
        effects: list[Effect] = []
        for line, watch, facts in looked:
            if facts.live and watch.unusual(now) and self._silent_since(watch, from_s, now):
                self._touched.add(line.key)
                watch.lone = False
                line.lose("farm", line.newest_ns)
                effects += self._book.set_state(line, "starved", "farm", now)
        return effects

    def stop(self, now: Instant) -> list[Effect]:
        """Nothing is heard any more, and nobody will judge it."""
        effects: list[Effect] = []
        for line in self._lines():
            watch = watch_of(line, self.config)
            if watch.state not in ("", "stale"):
                watch.state, watch.since_ns = "stale", now.ns
                effects += freshness_of(line)
        return effects

    # ---- what is told

    def _say(self, watched: list[tuple[Line, Watch]], now: Instant) -> list[Effect]:
        """One message for all lines that changed alike."""
        changed: dict[Freshness, list[Line]] = {}
        for line, watch in watched:
            if watch.state == watch.said:
                continue
            if (not watch.said and watch.state == "fresh") or (watch.state == "fresh" and not watch.phase.is_open):
                watch.said = watch.said or watch.state
                continue
            changed.setdefault(watch.state, []).append(line)
        effects: list[Effect] = []
        for state, lines in changed.items():
            first_ns = min(line.watch.since_ns for line in lines if line.watch is not None)
            # What has one cause need not show in one look.
            settled = (now.ns - first_ns) / 1e9 >= _SAY_AFTER_LOOKS * self.config.sweep_s
            if not settled or now.s - self._said_s.get(state, float("-inf")) < _SAY_EVERY_S:
                continue
            self._said_s[state] = now.s
            effects.append(_message(state, lines, now))
        return effects

    def counts(self) -> dict[str, object]:
        """How many lines are in which state, and which are stale, for the status."""
        watches = [(line, line.watch) for line in self._book.lines.values() if line.watch is not None]
        states = Counter(watch.state or "unknown" for _, watch in watches)
        stale = [line.streams[0].name for line, watch in watches if watch.state == "stale"]
        return {**dict(sorted(states.items())), "stale_lines": stale[:20]}


def watch_of(line: Line, config: SubscriptionsConfig) -> Watch:
    """The line's watch, made when it has none."""
    if line.watch is None:
        line.watch = Watch(line.contract, line.row.line_type, rth=line.row.rth, least_s=config.stale_min_s)
    return line.watch


def freshness_of(line: Line, stream: Stream | None = None) -> list[Effect]:
    """What readers are told of each stream of the line, or of one; nothing before it was judged."""
    watch = line.watch
    if watch is None or not watch.state:
        return []
    streams = line.streams if stream is None else [stream]
    return [SetFreshness(stream, watch.state, watch.since_ns, line.newest_ns) for stream in streams]


def listed_freshness(line: Line) -> dict[str, object]:
    """The same for a list of subscriptions; texts, since nanoseconds are no exact numbers in JSON."""
    watch = line.watch
    return {
        "freshness": watch.state or None if watch else None,
        "freshness_since_ns": str(watch.since_ns) if watch and watch.state else None,
        "received_ns": str(line.newest_ns) if line.newest_ns else None,
    }


def _is_waited_for(line: Line) -> bool:
    """Whether its silence may still be judged: not while it is silent for a reason that has its own cure."""
    return line.state in ("live", "pending") or (line.state, line.reason) == ("starved", "farm")


def _flapped(message: FarmChanged, touched: int, now: Instant) -> Announce:
    text = f"While data farm {message.name} was away {touched} lines were silent: their streams have a gap."
    return Announce(System(0, 0, now.ns, "gap", "farm", message.name, text))


def _facts(line: Line) -> Facts:
    return Facts(line.req_id, line.sent or line.live, line.live, line.newest_ns, line.feed, line.halted)


def _message(state: Freshness, lines: list[Line], now: Instant) -> Announce:
    """Affects: `said` of the lines' watches."""
    reasons: Counter[str] = Counter()
    for line in lines:
        assert line.watch is not None
        line.watch.said = state
        reasons[line.watch.reason] += 1
    names = [stream.name for line in lines for stream in line.streams]
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common() if reason)
    text = f"{len(names)} streams are {state}, {_TOLD[state]}{f' ({why})' if why else ''}: "
    subject = names[0] if len(names) == 1 else "streams"
    message = text + ", ".join(names[:_NAMED_MAX]) + more + "."
    return Announce(System(0, 0, now.ns, "subscription", state, subject, message))
