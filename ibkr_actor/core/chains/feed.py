"""Owns the market data lines of all chains: how many there may be, who has one, and what comes of it.

Knows no holder and no command; a line that anyone else needs is given up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from ibkr_actor.core import events
from ibkr_actor.core.chains.chain import UNDERLYING, Chain, Hint
from ibkr_actor.core.chains.member import OPEN_INTEREST, Member, Values, price_of
from ibkr_actor.core.chains.shares import LineShares
from ibkr_actor.core.chains.turns import TURN_MAX_S
from ibkr_actor.core.codes.meaning import lookup
from ibkr_actor.core.effects import Effect, Instant, Publish, Tell
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.line import Item
from ibkr_actor.core.messages import Enqueue, RateExceeded, RequestEnded, RequestRefused, Withdraw
from ibkr_actor.core.replies import rejection_of
from ibkr_actor.core.requests import ReqMktData
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.keys import Stream

# Behind every subscription and every look-up; see `messages.Enqueue`.
_PRIORITY: Final = 2
# How often prices of lines that others hold, and room that others left, are looked at.
_LOOK_S: Final = 1.0
# How long a chain may stay silent after a warning that the login may have no data.
_PROVE_S: Final = 15.0
# So many members refused, and none ever heard of: the chain is refused.
_REFUSED_MAX: Final = 5

Fail = Callable[[Chain, Rejection, Instant], list[Effect]]


class Use(Struct, frozen=True):
    """What a request of ours is for: `key` is the con_id of a member, None for the underlying."""

    chain: Chain
    key: int | None


class ChainFeed:
    """The lines of the chains. Caller: `Chains` only. `fail` ends a chain that IB refuses as a whole.

    `hint` tells those who wait for a stream why nothing comes.
    """

    def __init__(self, book: LineBook, chains: dict[Stream, Chain], feed: int, fail: Fail, hint: Hint) -> None:
        self._book = book
        self._feed = feed
        self._fail = fail
        self._hint = hint
        self.chains = chains
        self._by_req: dict[int, Use] = {}
        # Those of them that pacing let go.
        self._sent: set[int] = set()
        self._dirty: dict[str, Chain] = {}
        self._shares = LineShares()
        # When to look at all chains again; None when there is nothing to look at.
        self.due_s: float | None = None

    @property
    def lent(self) -> int:
        """How many market data lines the chains have."""
        return len(self._by_req)

    def owns(self, req_id: int) -> bool:
        """Whether the request is one of a chain."""
        return req_id in self._by_req

    # ---- data

    def take(self, event: events.MarketDataEvent, now: Instant) -> list[Effect]:
        """Takes in what came; records follow after the burst."""
        use = self._by_req[event.req_id]
        chain = use.chain
        if use.key is None:
            if chain.spot_values.take(event):
                return self._price(chain, chain.own_spot(), now)
            return []
        member = chain.members[use.key]
        if not member.take(event):
            return []
        chain.dirty[use.key] = member
        chain.newest_ns, chain.feed = event.received_ns, member.feed
        self._dirty[chain.name] = chain
        turn = chain.turns.asked.get(use.key)
        if not member.heard:
            member.heard = True
            self._look_at(now.s)
            if turn is not None:
                turn.sent_s = now.s if turn.sent_s is None else turn.sent_s
                turn.heard = True
                turn.refusals = 0
        if turn is not None and not turn.complete and member.complete:
            turn.complete = True
            self._look_at(now.s)
        return []

    def after_burst(self, now: Instant) -> tuple[list[Item], list[Chain]]:
        """The records of what came, and the chains that are alive since."""
        if not self._dirty:
            return [], []
        items: list[Item] = []
        alive: list[Chain] = []
        for chain in self._dirty.values():
            items += chain.items()
            if not chain.live:
                chain.live, chain.doubt, chain.hold_until_s = True, None, 0.0
                alive.append(chain)
        self._dirty = {}
        return items, alive

    def _price(self, chain: Chain, price: float | None, now: Instant) -> list[Effect]:
        """The underlying's price: the window follows it, once it has moved enough."""
        if price is None:
            return []
        chain.spot = price
        if not chain.window.follow(price) or chain.listed is None:
            return []
        return self.relay(chain, "spot", now)

    def relay(self, chain: Chain, reason: str, now: Instant) -> list[Effect]:
        """Lays out the members anew; lines of those that are gone are given up."""
        return self._lay(chain, reason, now) + self.look(now)

    def _lay(self, chain: Chain, reason: str, now: Instant) -> list[Effect]:
        chain.why = reason
        return [effect for key in chain.lay() for effect in self._drop(chain, key, now)]

    # ---- lines

    def look(self, now: Instant) -> list[Effect]:
        """Gives each chain its share of the lines, and its members their turns."""
        self.due_s = None
        if not self.chains:
            return []
        self.due_s = now.s + _LOOK_S
        if self._book.conn is None:
            return []
        effects: list[Effect] = []
        for chain in list(self.chains.values()):
            if chain.doubt is not None and now.s >= chain.doubt_until_s:
                effects += self._fail(chain, chain.doubt, now)
        for chain in self.chains.values():
            effects += self._shared_price(chain, now)
        # Whoever came to wait for a line without asking here goes before.
        effects += self._book.make_room(self._book.waiting(), now)
        free = max(0, self._book.room("level1")) + self.lent
        for chain, cap in self._shares.of(self.chains.values(), free, self._has_shared_price, now):
            for key in chain.turns.over(cap, now.s):
                effects += self._drop(chain, key, now)
        for chain in self.chains.values():
            effects += self._ask_more(chain, now)
            items = chain.window_item(now)
            effects += [Publish(items)] if items else []
            effects += chain.say_empty(now, self._hint)
            next_s = chain.turns.next_s(now.s)
            if next_s is not None:
                self._look_at(next_s)
        return effects

    def _look_at(self, at_s: float) -> None:
        self.due_s = at_s if self.due_s is None else min(self.due_s, at_s)

    def _shared_price(self, chain: Chain, now: Instant) -> list[Effect]:
        """Takes the price from a line that somebody else has, and needs none of its own then."""
        line = self._book.lines.get((chain.underlying.instrument, "level1"))
        price = price_of(line.top) if line is not None and line.live else None
        if line is None or price is None:
            return []
        chain.spot_values.halted = line.halted
        effects: list[Effect] = []
        if chain.spot_req is not None:
            effects += self._give_back(chain.spot_req, now)
            chain.spot_req = None
        chain.spot = price
        if chain.window.follow(price) and chain.listed is not None:
            effects += self._lay(chain, "spot", now)
        return effects

    def _has_shared_price(self, chain: Chain) -> bool:
        line = self._book.lines.get((chain.underlying.instrument, "level1"))
        return line is not None and line.live and price_of(line.top) is not None

    def _ask_more(self, chain: Chain, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        wants_spot = chain.spot_req is None and not self._has_shared_price(chain) and now.s >= chain.spot_again_s
        if wants_spot and self._book.room("level1") > 0:
            chain.spot_values = Values(self._feed)
            chain.spot_req = self._request(Use(chain, None), effects)
        if wants_spot and chain.spot_req is None and not chain.members:
            return effects + chain.set_state("starved", "line_limit", now)
        while self._book.room("level1") > 0 and now.s >= chain.hold_until_s:
            key = chain.turns.next(now.s)
            if key is None:
                break
            self._ask(chain, key, effects, now)
        waits = chain.state in ("", "starved") and chain.reason in ("", "disconnect", "line_limit")
        if waits and not chain.is_lineless:
            effects += chain.set_state("pending", "", now)
        return effects

    def _ask(self, chain: Chain, key: int, effects: list[Effect], now: Instant) -> None:
        assert chain.listed is not None
        req_id = self._request(Use(chain, key), effects)
        chain.members[key] = Member(chain.listed[key], req_id, self._feed)
        chain.turns.ask(key, now.s)

    def renew(self, chain: Chain, key: int, now: Instant) -> list[Effect]:
        """Asks anew for a member that is silent, or for the underlying."""
        effects: list[Effect] = []
        if key == UNDERLYING:
            if chain.spot_req is not None:
                effects += self._give_back(chain.spot_req, now)
                chain.spot_req = None
                self._look_at(now.s)
        elif key in chain.members:
            effects += self._drop(chain, key, now)
            if self._book.room("level1") > 0:
                self._ask(chain, key, effects, now)
        return effects

    def was_sent(self, req_id: int | None) -> bool:
        """Whether pacing let a request go."""
        return req_id in self._sent

    def use_of(self, req_id: int) -> tuple[Chain, int]:
        """What a request is for."""
        use = self._by_req[req_id]
        return use.chain, UNDERLYING if use.key is None else use.key

    def _request(self, use: Use, effects: list[Effect]) -> int:
        chain = use.chain
        contract, ticks = chain.underlying, tuple[int, ...]()
        if use.key is not None:
            assert chain.listed is not None
            contract = chain.listed[use.key]
            ticks = (OPEN_INTEREST,) if contract.sec_type == "OPT" else ()
        req_id = self._book.req_ids.next()
        self._by_req[req_id] = use
        self._book.lend()
        assert self._book.conn is not None
        request = ReqMktData(req_id, contract, ticks)
        client = f"chain {chain.name}"
        effects.append(Tell("pacing", Enqueue(request, priority=_PRIORITY, client=client, conn=self._book.conn)))
        return req_id

    def sent(self, req_id: int, now: Instant) -> None:
        """Pacing let a request go."""
        use = self._by_req.get(req_id)
        if use is None:
            return
        self._sent.add(req_id)
        if use.key is not None:
            use.chain.turns.sent(use.key, now.s)
            self._look_at(now.s + TURN_MAX_S)

    def _drop(self, chain: Chain, key: int, now: Instant) -> list[Effect]:
        """Gives a member's line up; its last record says so."""
        member = chain.members.pop(key, None)
        chain.turns.drop(key, now.s)
        if member is None:
            return []
        items = chain.last_of(member)
        effects: list[Effect] = [Publish(items)] if items else []
        return effects + self._give_back(member.req_id, now)

    def _give_back(self, req_id: int, now: Instant, *, ended: bool = False) -> list[Effect]:
        self._by_req.pop(req_id, None)
        self._sent.discard(req_id)
        word = RequestEnded(req_id) if ended else Withdraw(req_id)
        return [Tell("pacing", word), *self._book.give_back(now)]

    def make_room(self, count: int, now: Instant) -> list[Effect]:
        """Gives up `count` lines that somebody else needs, from whichever chain has most."""
        effects: list[Effect] = []
        for _ in range(count):
            chain = max(self.chains.values(), key=lambda each: len(each.members), default=None)
            if chain is None:
                break
            gone = chain.turns.yielded(1)
            if gone:
                effects += self._drop(chain, gone[0], now)
                chain.turns.cap = min(chain.turns.cap, len(chain.turns.asked))
            else:
                held = next((each for each in self.chains.values() if each.spot_req is not None), None)
                if held is None or held.spot_req is None:
                    break
                effects += self._give_back(held.spot_req, now)
                held.spot_req = None
        if effects:
            self._look_at(now.s)
        return effects

    def close(self, chain: Chain, now: Instant) -> list[Effect]:
        """Gives all lines of a chain back."""
        self.chains.pop(chain.stream, None)
        self._dirty.pop(chain.name, None)
        effects: list[Effect] = []
        for req_id in [req_id for req_id, use in self._by_req.items() if use.chain is chain]:
            effects += self._give_back(req_id, now)
        chain.members, chain.spot_req = {}, None
        chain.turns.lost()
        if self.chains:
            self._look_at(now.s)
        return effects

    def drop_all(self, now: Instant, *, forgotten: bool) -> list[Effect]:
        """No request is left. What IB has `forgotten` needs no cancel; all that still waits is withdrawn."""
        effects: list[Effect] = []
        for req_id in list(self._by_req):
            effects += self._give_back(req_id, now, ended=forgotten and req_id in self._sent)
        for chain in self.chains.values():
            chain.members, chain.spot_req, chain.dirty, chain.priceless_s = {}, None, {}, None
            chain.silences, chain.hold_until_s, chain.round = {}, 0.0, chain.round + 1
            chain.turns.lost()
        self._dirty = {}
        return effects

    # ---- what IB refuses

    def error(self, event: events.ErrorNotice, now: Instant) -> list[Effect]:
        """What IB says of a request of a chain."""
        use = self._by_req[event.req_id]
        row = lookup(event.code, event.req_id)
        effects: list[Effect] = [Tell("pacing", RateExceeded(event.code))] if row.effect == "slow_down" else []
        if row.effect == "prove" and not use.chain.live and use.chain.doubt is None:
            use.chain.doubt = rejection_of(row, event)
            use.chain.doubt_until_s = now.s + (row.retry_after_s or _PROVE_S)
            return effects
        if not (row.ends_request or row.effect in ("slow_down", "retry", "reconnect")):
            return effects
        rejection = rejection_of(row, event)
        if row.kind == "limit":
            self._shares.limit(self.lent - 1, now)
        for_good = row.effect == "fail" and not rejection.retryable
        return effects + self._ended(use, event.req_id, rejection, now, for_good=for_good, counts=row.kind != "limit")

    def refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        """Pacing had no room for a request."""
        rejection = Rejection("busy", message.reason, None, True, message.retry_after_s)
        use = self._by_req[message.req_id]
        return self._ended(use, message.req_id, rejection, now, for_good=False, counts=False)

    def _ended(
        self, use: Use, req_id: int, rejection: Rejection, now: Instant, *, for_good: bool, counts: bool
    ) -> list[Effect]:
        chain = use.chain
        effects = self._give_back(req_id, now, ended=True)
        if use.key is None:
            chain.spot_req = None
            chain.spot_again_s = now.s + (rejection.retry_after_s or 5.0)
            if for_good and chain.window.needs_spot and chain.spot is None:
                return effects + self._fail(chain, rejection, now)
            if for_good:
                chain.spot_again_s = now.s + 3600.0
            return effects
        member = chain.members.pop(use.key)
        items = chain.last_of(member)
        effects += [Publish(items)] if items else []
        stays = chain.turns.refuse(use.key, now.s, counts=counts)
        self._look_at(now.s)
        if stays and not for_good:
            return effects
        chain.refused.add(use.key)
        chain.refusal = rejection
        nothing_came = not chain.newest_ns and len(chain.refused) >= min(_REFUSED_MAX, len(chain.turns))
        if nothing_came or len(chain.refused) >= len(chain.listed or ()):
            return effects + self._fail(chain, rejection, now)
        return effects + self.relay(chain, "refused", now)
