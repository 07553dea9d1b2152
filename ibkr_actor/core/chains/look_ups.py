"""Owns when it is looked up which options a chain consists of, and what the answer changes.

Asks IB nothing: the reference actor does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ibkr_actor.core.chains.chain import Chain
from ibkr_actor.core.chains.feed import ChainFeed
from ibkr_actor.core.chains.messages import ChainFound, ChainNotFound, FindChain
from ibkr_actor.core.chains.window import until_roll_s
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, Tell
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.keys import CHAIN, Stream

# Look-ups that fail for now are repeated ever more rarely.
_LOOK_UP_S: Final = 5.0
_LOOK_UP_MAX_S: Final = 60.0

Fail = Callable[[Chain, Rejection, Instant], list[Effect]]


class ChainLookUps:
    """The look-ups of all chains. Caller: `Chains`, and the core for answers. `fail` ends a chain without options."""

    def __init__(self, config: SubscriptionsConfig, book: LineBook, feed: ChainFeed, fail: Fail) -> None:
        self._config = config
        self._book = book
        self._feed = feed
        self._fail = fail
        # By the chain's name.
        self._due = Deadlines[str]()

    def next_s(self) -> float | None:
        """When something is to be looked up."""
        return self._due.next_s()

    def forget(self, chain: Chain) -> None:
        """The chain is no more."""
        self._due.clear(chain.name)

    def look_up(self, chain: Chain) -> list[Effect]:
        """Asks which options there are, unless that is being asked or there is nobody to ask."""
        if self._book.conn is None or chain.looking_up:
            return []
        chain.looking_up = True
        client = next(iter(chain.holders), "")
        return [Tell("reference", FindChain(chain.name, chain.underlying, chain.spec, client))]

    def wake_up(self, now: Instant) -> list[Effect]:
        """Looks up whatever is due."""
        effects: list[Effect] = []
        for name in self._due.due(now.s):
            asked = self.look_up(self._feed.chains[Stream(CHAIN, name)])
            if not asked:
                self._due.set(name, now.s + _LOOK_UP_MAX_S)
            effects += asked
        return effects

    def found(self, message: ChainFound, now: Instant) -> list[Effect]:
        """What the chain consists of; it is looked up again by and by, since options come and go.

        When a day of expiries is over at the latest: `nearest` is another one then.
        """
        chain = self._feed.chains.get(Stream(CHAIN, message.name))
        if chain is None:
            return []
        chain.looking_up, chain.failures = False, 0
        self._due.set(chain.name, now.s + min(self._config.chain_refresh_s, until_roll_s(now.ns)))
        chain.take_list(message.contracts, message.market)
        return self._feed.relay(chain, "expiry", now)

    def not_found(self, message: ChainNotFound, now: Instant) -> list[Effect]:
        """There is nothing, or not now."""
        chain = self._feed.chains.get(Stream(CHAIN, message.name))
        if chain is None:
            return []
        chain.looking_up = False
        if not message.rejection.retryable:
            return self._fail(chain, message.rejection, now)
        chain.failures += 1
        wait_s = min(_LOOK_UP_MAX_S, _LOOK_UP_S * self._config.chain_turns.backoff ** min(chain.failures, 20))
        self._due.set(chain.name, now.s + wait_s)
        return [] if chain.live else chain.set_state("starved", message.rejection.code, now)
