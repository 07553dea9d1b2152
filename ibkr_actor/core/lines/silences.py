"""Owns what follows from a line's silence: its freshness is told, a `stall` or `farm` gap opens, and it is asked anew.

Judges no line itself: `core.lines.freshness` does. Knows no command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ibkr_actor.core.chains.silences import ChainSilences
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Effect, Instant
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.freshness import Facts, Freshness, Watch
from ibkr_actor.core.lines.line import Line, LineKey
from ibkr_actor.core.lines.probes import Probes
from ibkr_actor.core.lines.watched import Watched, is_waited_for, judged, message_of, stopped
from ibkr_actor.core.messages import FarmChanged, GatewayMute
from ibkr_actor.schema.records import FLAG_SNAPSHOT, System

# Between two messages of one sort; what changes meanwhile is told together.
_SAY_EVERY_S: Final = 30.0
_SAY_AFTER_LOOKS: Final = 3
_FARM_LOOK_S: Final = 1.0
# Lines are asked anew one after the other, and each more rarely the longer that does not help.
_PROBE_APART_S: Final = 0.2
_DOUBLINGS_MAX: Final = 5

Look = tuple[Line, Watch, Facts]


class Silences:
    """Looks at all lines and chains about once a second. Caller: `SubscriptionsCore` only.

    Affects lines by their book; what follows for chains is `ChainSilences`'.
    """

    def __init__(self, config: SubscriptionsConfig, book: LineBook, chains: ChainSilences) -> None:
        self.config = config
        self._book = book
        self._chains = chains
        # Market data farms that are down.
        self._farms = chains.farms
        self._next_s: float | None = None
        # When any line was last heard.
        self._heard_s = 0.0
        # When something of a state was last said; see `_SAY_EVERY_S`.
        self._said_s: dict[Freshness, float] = {}
        # Lines and chains that were silenced since the first of them went.
        self._touched: set[LineKey] = set()
        self._probes = Probes()

    def next_s(self) -> float | None:
        """When to look next; None when there is nothing to look at."""
        something = bool(self._book.lines) or bool(self._chains)
        return (self._next_s or 0.0) if something and self.config.sweep_s > 0 else None

    # ---- looking

    def sweep(self, now: Instant) -> list[Effect]:
        """Looks at every line, when it is time to."""
        if self.config.sweep_s <= 0 or (self._next_s is not None and now.s < self._next_s):
            return []
        # While a farm is away it is looked more closely: data may be back before the word that it is.
        self._next_s = now.s + min(self.config.sweep_s, _FARM_LOOK_S if self._farms else self.config.sweep_s)
        looked = self._look(now)
        self._probes.look(now)
        effects = self._farm_silence(looked, now) + self._silent(looked, now)
        for line, watch, _ in looked:
            effects += judged(line, watch, _facts(line), now)
        effects += self._chains.sweep(now)
        watched: list[tuple[Watched, Watch]] = [(line, watch) for line, watch, _ in looked]
        return effects + self._say(watched + self._chains.watched(), now)

    def _look(self, now: Instant) -> list[Look]:
        looked = [(line, watch_of(line, self.config), _facts(line)) for line in self._lines()]
        for _, watch, facts in looked:
            if watch.look(facts, now):
                self._heard_s = now.s
        return looked

    def _lines(self) -> Iterable[Line]:
        return (line for line in list(self._book.lines.values()) if not line.flags & FLAG_SNAPSHOT)

    def _silent(self, looked: list[Look], now: Instant) -> list[Effect]:
        """Lines that fell silent, or were asked for in vain: a gap begins, and they are to be asked for again."""
        waiting = [found for found in looked if found[0].req_id is not None and is_waited_for(found[0])]
        overdue = [found for found in waiting if found[1].overdue(found[2], now)]
        spoke = [found for found in waiting if found[2].live and found[1].phase.is_open]
        together = len({line.key[0] for line, _, facts in overdue if facts.live}) > 1
        if together and now.s - self._heard_s >= self.config.stale_min_s:
            # Nothing comes any more: that concerns the slow ones too.
            overdue += [found for found in spoke if found not in overdue and not found[2].halted]
        return self._fall_silent(overdue, now, lone=not together)

    def _fall_silent(self, silent: list[Look], now: Instant, *, lone: bool) -> list[Effect]:
        effects: list[Effect] = []
        for n, (line, watch, _) in enumerate(silent):
            if line.doubt is not None:
                continue
            watch.lone = watch.lone and lone
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

    def ask_again(self, line: Line, now: Instant) -> list[Effect]:
        """Asks for a line anew that was silent; what IB answers may show that it has nothing to say."""
        before, was_silent = line.top, line.reason == "silent"
        watch = watch_of(line, self.config)
        silence_s = watch.silent_s(now)
        effects = self._book.ask_again(line, now, ended=False)
        if was_silent and line.row.line_type == "level1" and not self._farms:
            self._probes.asked(line, watch, before, silence_s)
        return effects

    # ---- what others tell

    def heard(self, line: Line, now: Instant) -> list[Effect]:
        """The first data after a request or a loss."""
        watch = watch_of(line, self.config)
        watch.look(_facts(line), now)
        self._probes.answered(line, now)
        return judged(line, watch, _facts(line), now)

    def gateway_mute(self, _message: GatewayMute, now: Instant) -> list[Effect]:
        """Nothing is heard of any line, however rarely it speaks, and whether or not its pace is known."""
        if self.config.sweep_s <= 0:
            return []
        silent = [
            (line, watch, facts)
            for line, watch, facts in self._look(now)
            if facts.live and is_waited_for(line) and watch.expects_data(facts)
            if now.s - watch.heard_s >= self.config.sweep_s
        ]
        effects = self._fall_silent(silent, now, lone=False)
        for line, watch, _ in silent:
            effects += judged(line, watch, _facts(line), now)
        return effects + self._chains.gateway_mute(now)

    def session_over(self) -> None:
        """The next connection tells its farms anew."""
        self._farms.clear()
        self._touched.clear()

    def farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        """A market data farm went down or is back. IB does not say whose it is: it touched what fell silent with it.

        A line that was not heard since the farm went has a gap, begun when it was last heard; one that spoke meanwhile
        is of another farm. Data may overtake the word that it is back.
        """
        looked = self._look(now)
        if not message.is_up:
            self._farms.gone(message.name, now, message.at_ns)
            if self._next_s is not None:
                self._next_s = min(self._next_s, now.s + _FARM_LOOK_S)
            return []
        since = self._farms.back(message.name, now)
        effects, chains = self._chains.farm_back(since, now)
        self._touched |= chains
        for line, watch, _ in looked:
            if line.live and self._farms.hides(watch, now, since):
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

    def _farm_silence(self, looked: list[Look], now: Instant) -> list[Effect]:
        """Lines that fell silent when a farm went, and are quicker than that as a rule."""
        if not self._farms:
            return []
        effects: list[Effect] = []
        for line, watch, facts in looked:
            if facts.live and watch.unusual(now) and self._farms.hides(watch, now):
                self._touched.add(line.key)
                watch.lone = False
                line.lose("farm", line.newest_ns)
                effects += self._book.set_state(line, "starved", "farm", now)
        return effects

    def stop(self, now: Instant) -> list[Effect]:
        """Nothing is heard any more, and nobody will judge it."""
        effects: list[Effect] = []
        for line in self._lines():
            effects += stopped(line, watch_of(line, self.config), now)
        for chain, watch in self._chains.watched():
            effects += stopped(chain, watch, now)
        return effects

    # ---- what is told

    def _say(self, watched: list[tuple[Watched, Watch]], now: Instant) -> list[Effect]:
        """One message for all lines and chains that changed alike."""
        changed: dict[Freshness, list[Watched]] = {}
        for one, watch in watched:
            if watch.state == watch.said:
                continue
            if (not watch.said and watch.state == "fresh") or (watch.state == "fresh" and not watch.phase.is_open):
                watch.said = watch.said or watch.state
                continue
            changed.setdefault(watch.state, []).append(one)
        effects: list[Effect] = []
        for state, alike in changed.items():
            first_ns = min(each.watch.since_ns for each in alike if each.watch is not None)
            # What has one cause need not show in one look.
            settled = (now.ns - first_ns) / 1e9 >= _SAY_AFTER_LOOKS * self.config.sweep_s
            if not settled or now.s - self._said_s.get(state, float("-inf")) < _SAY_EVERY_S:
                continue
            self._said_s[state] = now.s
            effects.append(message_of(state, alike, now))
        return effects

    def counts(self) -> dict[str, object]:
        """How many lines and chains are in which state, and which are stale, for the status."""
        watches: list[tuple[Watched, Watch]] = [
            (line, line.watch) for line in self._book.lines.values() if line.watch is not None
        ]
        watches += self._chains.watched()
        states = Counter(watch.state or "unknown" for _, watch in watches)
        stale = [one.streams[0].name for one, watch in watches if watch.state == "stale"]
        return {**dict(sorted(states.items())), "stale_lines": stale[:20]}


def watch_of(line: Line, config: SubscriptionsConfig) -> Watch:
    """The line's watch, made when it has none."""
    if line.watch is None:
        line.watch = Watch(line.contract, line.row.line_type, rth=line.row.rth, least_s=config.stale_min_s)
    return line.watch


def _flapped(message: FarmChanged, touched: int, now: Instant) -> Announce:
    lines = "1 line was silent: its" if touched == 1 else f"{touched} lines were silent: their"
    text = f"While data farm {message.name} was away {lines} streams have a gap."
    return Announce(System(0, 0, now.ns, "gap", "farm", message.name, text))


def _facts(line: Line) -> Facts:
    return Facts(line.req_id, line.sent or line.live, line.live, line.newest_ns, line.feed, line.halted)
