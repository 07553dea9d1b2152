"""Owns what follows from the silence of a chain, or of members that always have a line: gaps, and new requests.

Judges nothing itself: `core.lines.freshness` does, of the chain as a whole and of each such member. Members that take
turns are asked for again anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ibkr_actor.core.chains.chain import UNDERLYING, Chain, Silence
from ibkr_actor.core.chains.feed import ChainFeed
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Effect, Instant
from ibkr_actor.core.lines.farms_away import FarmsAway
from ibkr_actor.core.lines.freshness import Facts, Watch
from ibkr_actor.core.lines.line import LineKey, PendingGap
from ibkr_actor.core.lines.watched import Watched, is_waited_for, judged
from ibkr_actor.schema.keys import CHAIN

# Members are asked anew one after the other, and each more rarely the longer that does not help.
_PROBE_APART_S: Final = 0.2
_DOUBLINGS_MAX: Final = 5

Look = tuple[int, Watch, Facts]


class ChainSilences:
    """Looks at all chains about once a second. Caller: `Silences`, and `Chains` for what happens to one."""

    def __init__(self, config: SubscriptionsConfig, feed: ChainFeed) -> None:
        self._config = config
        self._feed = feed
        self.farms = FarmsAway()

    def __bool__(self) -> bool:
        return bool(self._feed.chains)

    def watched(self) -> list[tuple[Watched, Watch]]:
        """All chains that were looked at."""
        return [(chain, chain.watch) for chain in self._feed.chains.values() if chain.watch is not None]

    # ---- looking

    def sweep(self, now: Instant) -> list[Effect]:
        """Looks at every chain and at its members with a line of their own."""
        effects: list[Effect] = []
        for chain in list(self._feed.chains.values()):
            effects += self._look(chain, now)
        return effects

    def _look(self, chain: Chain, now: Instant) -> list[Effect]:
        watch = self._watch_of(chain)
        watch.look(_facts(chain, watch), now)
        looked = list(self._members(chain, now))
        self._forget(chain, {key for key, _, _ in looked})
        effects: list[Effect] = []
        facts = _facts(chain, watch)
        if is_waited_for(chain) and chain.doubt is None:
            if self.farms and facts.live and watch.unusual(now) and self.farms.hides(watch, now):
                watch.lone = False
                chain.lose("farm", chain.newest_ns)
                effects += chain.set_state("starved", "farm", now)
            if watch.overdue(facts, now):
                effects += self._fall_silent(chain, looked, now)
        if is_waited_for(chain) or chain.reason == "silent":
            self._silent(chain, [found for found in looked if found[1].overdue(found[2], now)], now)
        return effects + self._probe(chain, now) + judged(chain, watch, _facts(chain, watch), now)

    def _fall_silent(self, chain: Chain, looked: list[Look], now: Instant) -> list[Effect]:
        """Nothing comes of any member any more."""
        chain.lose("farm" if self.farms else "stall", chain.newest_ns)
        self._silent(chain, [found for found in looked if found[2].live], now, lone=False)
        return chain.set_state("starved", "silent", now)

    def gateway_mute(self, now: Instant) -> list[Effect]:
        """Nothing is heard of anything, and thus of no chain."""
        effects: list[Effect] = []
        for chain in list(self._feed.chains.values()):
            watch = self._watch_of(chain)
            watch.look(_facts(chain, watch), now)
            facts = _facts(chain, watch)
            silent = facts.live and watch.expects_data(facts) and now.s - watch.heard_s >= self._config.sweep_s
            if silent and is_waited_for(chain) and chain.doubt is None:
                effects += self._fall_silent(chain, list(self._members(chain, now)), now)
                effects += judged(chain, watch, _facts(chain, watch), now)
        return effects

    def _members(self, chain: Chain, now: Instant) -> Iterator[Look]:
        """The underlying and the members that keep their lines, looked at. Affects: silences that are over."""
        pinned = chain.turns.pinned
        asked = {key: turn for key, turn in chain.turns.asked.items() if turn.rank < pinned}
        for key in ([UNDERLYING] if chain.spot_req is not None else []) + list(asked):
            contract = chain.underlying if key == UNDERLYING else chain.market
            watch = chain.watches.get(key)
            if watch is None:
                watch = chain.watches[key] = Watch(contract, "level1", rth=False, least_s=self._config.stale_min_s)
            values = chain.spot_values if key == UNDERLYING else chain.members[key]
            heard = values.received_ns > 0
            sent = heard or (
                self._feed.was_sent(chain.spot_req) if key == UNDERLYING else asked[key].sent_s is not None
            )
            req_id = chain.spot_req if key == UNDERLYING else chain.members[key].req_id
            live = heard and (chain.live or key == UNDERLYING)
            newest_ns = values.received_ns or watch.newest_ns
            facts = Facts(req_id, sent, live, newest_ns, values.feed, chain.halted or values.halted)
            if watch.look(facts, now) and key == UNDERLYING:
                chain.silences.pop(UNDERLYING, None)
            yield key, watch, facts

    def _forget(self, chain: Chain, keys: set[int]) -> None:
        """What has no line of its own any more is not observed."""
        pinned = chain.turns.pinned
        for key in [key for key in chain.watches if key not in keys]:
            turn = chain.turns.get(key)
            if key != UNDERLYING and (turn is None or turn.rank >= pinned):
                del chain.watches[key]
                chain.silences.pop(key, None)

    def _silent(self, chain: Chain, silent: list[Look], now: Instant, *, lone: bool = True) -> None:
        """Their gaps begin, and they are to be asked for again, each in its time."""
        for n, (key, watch, facts) in enumerate(silent):
            watch.lone = watch.lone and lone
            silence = chain.silences.setdefault(key, Silence())
            if facts.live and chain.live and silence.gap is None and key != UNDERLYING:
                silence.gap = PendingGap("farm" if self.farms else "stall", facts.newest_ns)
            if silence.again_s is None and self._config.stale_probe_s > 0:
                wait_s = self._config.stale_probe_s * 2.0 ** min(silence.asks, _DOUBLINGS_MAX)
                silence.again_s = now.s + max(0.0, wait_s - watch.silent_s(now)) + n * _PROBE_APART_S

    def _probe(self, chain: Chain, now: Instant) -> list[Effect]:
        """Asks anew for those whose time it is."""
        effects: list[Effect] = []
        for key, silence in list(chain.silences.items()):
            if silence.again_s is not None and now.s >= silence.again_s:
                silence.again_s = None
                silence.asks += 1
                watch, member = chain.watches.get(key), chain.members.get(key)
                if watch is not None and member is not None and member.heard and chain.live and watch.lone:
                    # Others speak: an option may be that slow, and a request brings data whether or not it had died.
                    watch.take_for_habit(now.s - watch.heard_s)
                effects += self._feed.renew(chain, key, now)
        return effects

    def _watch_of(self, chain: Chain) -> Watch:
        if chain.watch is None:
            chain.watch = Watch(chain.market, "level1", rth=False, least_s=self._config.stale_min_s)
        return chain.watch

    # ---- what others tell

    def heard(self, chain: Chain, now: Instant) -> list[Effect]:
        """The first data after a request or a loss."""
        if self._config.sweep_s <= 0:
            return []
        watch = self._watch_of(chain)
        watch.look(_facts(chain, watch), now)
        return judged(chain, watch, _facts(chain, watch), now)

    def starved(self, chain: Chain, key: int, reason: str, at_ns: int, now: Instant) -> list[Effect]:
        """Another login took the data: no member's turn helps, and those with a line are asked for again by and by."""
        chain.lose("competing_session", at_ns)
        chain.hold_until_s = now.s + self._config.probe_s
        turn = chain.turns.asked.get(key)
        if key == UNDERLYING or (turn is not None and turn.rank < chain.turns.pinned):
            silence = chain.silences.setdefault(key, Silence())
            silence.again_s = now.s + self._config.probe_s + len(chain.silences) * _PROBE_APART_S
        return chain.set_state("starved", reason, now)

    def farm_back(self, since: Instant, now: Instant) -> tuple[list[Effect], set[LineKey]]:
        """A farm that was away since then is back: what was silent meanwhile has a gap. Also names such chains."""
        effects: list[Effect] = []
        touched: set[LineKey] = set()
        for chain in self._feed.chains.values():
            watch = self._watch_of(chain)
            watch.look(_facts(chain, watch), now)
            looked = list(self._members(chain, now))
            if chain.live and self.farms.hides(watch, now, since):
                touched.add((chain.name, CHAIN))
                chain.miss("farm", chain.newest_ns)
            for key, each, facts in looked if chain.live else []:
                if facts.live and key != UNDERLYING and self.farms.hides(each, now, since):
                    touched.add((chain.name, CHAIN))
                    chain.miss_member(key, "farm", facts.newest_ns)
            if (chain.state, chain.reason) == ("starved", "farm"):
                touched.add((chain.name, CHAIN))
                effects += chain.set_state("pending", "farm_restored", now)
        return effects, touched


def _facts(chain: Chain, watch: Watch) -> Facts:
    """The chain as a whole. When its market is closed, data that only turns bring are no sign of life."""
    by_turns = len(chain.turns) > chain.turns.pinned and watch.phase.name == "closed"
    sent = any(turn.sent_s is not None for turn in chain.turns.asked.values())
    live = chain.live and not by_turns
    return Facts(chain.round, sent or chain.live, live, chain.newest_ns, chain.feed, chain.halted)
