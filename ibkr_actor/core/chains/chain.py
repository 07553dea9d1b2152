"""Owns one chain of options: its members, where its window lies, what is known of it, and the records that say so.

Asks nothing of IB and decides no line: `core.chains.feed` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from ibkr_actor.core.chains.member import Member, Values, price_of
from ibkr_actor.core.chains.turns import Turns, TurnsConfig
from ibkr_actor.core.chains.window import ChainSpec, Window
from ibkr_actor.core.effects import Announce, Effect, Instant, SetState
from ibkr_actor.core.held import HeldStream, StreamHolder
from ibkr_actor.core.lines.freshness import Watch
from ibkr_actor.core.lines.line import Item, PendingGap
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import CHAIN, Stream
from ibkr_actor.schema.records import ChainWindow, DataRecord, End, Gap, System

# Tells those who wait for streams why nothing comes.
Hint = Callable[[Iterable[Stream], str], list[Effect]]
# Why a chain may have no members.
_EMPTY: Final = frozenset({"empty_window", "no_price", "refused"})
# How long the underlying's price may be missing before that is worth a word.
_PRICE_S: Final = 15.0

# Stands for the underlying where else a member's con_id does.
UNDERLYING: Final = 0


class Silence(Struct):
    """A member, or the underlying, that is silent: the gap before its next record, and when it is asked for anew."""

    gap: PendingGap | None = None
    asks: int = 0
    again_s: float | None = None


class ChainHolder(StreamHolder, frozen=True):
    """One client's wish for the chain; `lines` is how many it may take."""

    lines: int


class Chain(HeldStream[ChainHolder]):
    """One chain, as long as it is held."""

    def __init__(self, name: str, spec: ChainSpec, underlying: Contract, turns: TurnsConfig, feed: int) -> None:
        super().__init__(Stream(CHAIN, name))
        self.name = name
        self.spec = spec
        self.underlying = underlying
        self.feed = feed
        # con_id -> contract, of all that is listed; None before it was looked up.
        self.listed: dict[int, Contract] | None = None
        # Whether it is being looked up, and how often that failed.
        self.looking_up = False
        self.failures = 0
        self.window = Window(spec)
        self.turns = Turns(turns)
        # con_id -> member with a line.
        self.members: dict[int, Member] = {}
        # Members that IB refused for good, and the latest refusal.
        self.refused: set[int] = set()
        self.refusal: Rejection | None = None
        # The request for the underlying, unless somebody else has its line; and what came of it.
        self.spot_req: int | None = None
        self.spot_values = Values(feed)
        self.spot: float | None = None
        self.spot_again_s = 0.0
        # Since when its price is missed although all else is there.
        self.priceless_s: float | None = None
        # What was said of its having no members.
        self.hint: str | None = None
        # What IB warned of, and until when data must come to prove it wrong.
        self.doubt: Rejection | None = None
        self.doubt_until_s = 0.0
        self.dirty: dict[int, Member] = {}
        self.state = ""
        self.reason = ""
        self.since_ns = 0
        self.newest_ns = 0
        self.live = False
        self.published = False
        self._gap: PendingGap | None = None
        # A contract with the hours of its market; how often everything was asked for, and until when no turn helps.
        self.market = underlying
        self.round = 0
        self.hold_until_s = 0.0
        # Of the chain as a whole, and of each member that keeps its line; those of them that are silent.
        self.watch: Watch | None = None
        self.watches: dict[int, Watch] = {}
        self.silences: dict[int, Silence] = {}
        # What was last said of the window; whether it was laid anew since, and why.
        self._shown: tuple[object, ...] | None = None
        self._said_lines = 0
        self._laid = False
        self.why = "lines"
        self._strikes: list[float] = []

    @property
    def budget(self) -> int:
        """How many lines its holders let it take."""
        return max((holder.lines for holder in self.holders.values()), default=0)

    @property
    def streams(self) -> list[Stream]:
        """Its one stream."""
        return [self.stream]

    @property
    def halted(self) -> bool:
        """Whether IB says that trading of the underlying is halted."""
        return self.spot_values.halted

    def own_spot(self) -> float | None:
        """The underlying's price by the chain's own line."""
        return price_of(self.spot_values.top, self.spot_values.close)

    # ---- the window

    def take_list(self, contracts: Sequence[Contract], market: Contract | None = None) -> None:
        """What there is, from now on; `market` is one of them with its hours."""
        self.market = market or self.market
        for watch in (self.watch, *(watch for key, watch in self.watches.items() if key != UNDERLYING)):
            if watch is not None:
                watch.new_hours(self.market, rth=False)
        self.listed = {contract.con_id: contract for contract in contracts}
        self._strikes = sorted({contract.strike or 0.0 for contract in contracts})
        self.refused &= set(self.listed)

    def lay(self) -> list[int]:
        """Puts the members of the window in their order; returns those outside that have a line still."""
        self._laid = True
        strikes = set(self.window.strikes(self._strikes, self.spot))
        listed = [] if self.listed is None else self.listed.values()
        inside = [each for each in listed if (each.strike or 0.0) in strikes and each.con_id not in self.refused]
        middle = self._middle()
        inside.sort(key=lambda it: (abs((it.strike or 0.0) - middle), it.last_trade_date, it.strike, it.right))
        return self.turns.lay(contract.con_id for contract in inside)

    def _middle(self) -> float:
        if self.spot is not None:
            return self.spot
        return self._strikes[len(self._strikes) // 2] if self._strikes else 0.0

    def why_empty(self, now: Instant) -> tuple[str, str] | None:
        """Why it has no members though options are listed: a reason and a sentence.

        Affects: since when it has no price.
        """
        if not self.listed or len(self.turns):
            self.priceless_s = None
            return None
        name = self.underlying.instrument
        if self.window.needs_spot and self.window.anchor is None:
            self.priceless_s = now.s if self.priceless_s is None else self.priceless_s
            text = f"there is no price of {name} yet; the chain begins when there is one"
            return ("no_price", text) if now.s - self.priceless_s >= _PRICE_S else None
        price = f"{name} is at {self.spot:g}" if self.spot is not None else f"the price of {name} is not known"
        if self.window.strikes(self._strikes, self.spot):
            return "refused", f"{price}, and IB refuses every option that is wanted there"
        low, high = self.spec.strike_range or (self._strikes[0], self._strikes[-1])
        reach = f"{100 * (self.spec.moneyness or 0.0):g} %"
        text = f"{price}: no listed strike of {low:g} to {high:g} is within {reach} of that"
        return "empty_window", f"{text}; the chain begins when one is"

    @property
    def is_lineless(self) -> bool:
        """Whether no member may have a line, since others need them all."""
        return len(self.turns) > 0 and self.turns.cap == 0 and not self.members

    def say_empty(self, now: Instant, hint: Hint) -> list[Effect]:
        """A chain that has nothing to ask for, or no line to ask with, says why, once; and goes on when it has."""
        if self.is_lineless and self.state in ("live", "pending"):
            self.live = False
            return self.set_state("starved", "line_limit", now)
        found = self.why_empty(now)
        if found is None:
            self.hint = None
            filled = self.state == "starved" and self.reason in _EMPTY and len(self.turns) > 0
            return self.set_state("pending", "", now) if filled else []
        reason, text = found
        if self.reason == reason or (self.state == "starved" and self.reason not in _EMPTY):
            return []
        self.live, self.hint = False, text
        said = System(0, 0, now.ns, "subscription", reason, self.stream.name, f"Chain {self.name}: {text}.")
        return [*self.set_state("starved", reason, now), *hint([self.stream], text), Announce(said)]

    # ---- records

    def items(self) -> list[Item]:
        """A record for each member of which something came."""
        out: list[Item] = []
        for key, member in self.dirty.items():
            member.dirty = False
            silence = self.silences.pop(key, None) if self.silences else None
            self._append(out, member.record(on_line=True), None if silence is None else silence.gap)
        self.dirty = {}
        return out

    def last_of(self, member: Member) -> list[Item]:
        """The last record of a member's turn, if anything came in it."""
        self.dirty.pop(member.contract.con_id, None)
        if not member.heard:
            return []
        # No news: a loss is not over with it.
        self.published = True
        return [(self.stream, member.record(on_line=False))]

    def window_item(self, now: Instant) -> list[Item]:
        """The window, when it is not as it was last said."""
        if not self._laid and self._said_lines == min(self.turns.cap, len(self.turns)):
            return []
        self._laid = False
        listed = self.listed or {}
        inside = [listed[key] for key in self.turns.order() if key in listed]
        if not inside and (self.listed is None or (self.window.needs_spot and self.window.anchor is None)):
            return []
        expiries = sorted({each.last_trade_date for each in inside})
        strikes = sorted({each.strike or 0.0 for each in inside})
        lines = min(self.turns.cap, len(inside))
        shown = (tuple(expiries), tuple(strikes), len(inside), lines, len(self.refused))
        self._said_lines = lines
        if shown == self._shown:
            return []
        reason, self._shown, self.why = self._why_now(inside), shown, "lines"
        record = ChainWindow(
            0, 0, self.underlying.con_id, now.ns, None, self.feed, 0, reason, self.spot, expiries, strikes,
            self.spec.rights, len(inside), lines, self.turns.rotation_s, len(self.refused),
        )  # fmt: skip
        return [(self.stream, record)]

    def _why_now(self, inside: Sequence[Contract]) -> str:
        if not inside:
            return "empty"
        return "opened" if self._shown is None else self.why

    def _append(self, out: list[Item], record: DataRecord, own: PendingGap | None) -> None:
        """Adds a record of new data, after the gap that it ends: the chain's, or this member's `own`."""
        gap, self._gap = self._gap, None
        con_id = self.underlying.con_id
        if gap is None:
            gap, con_id = own, record.con_id
        if gap is not None:
            at_ns = record.received_ns
            lost = Gap(0, 0, con_id, at_ns, None, self.feed, 0, gap.cause, gap.from_ns, at_ns)
            out.append((self.stream, lost))
        self.published = True
        out.append((self.stream, record))

    def end(self, reason: str, at_ns: int) -> Item:
        """The record that closes the stream."""
        return self.stream, End(0, 0, self.underlying.con_id, at_ns, None, self.feed, 0, reason)

    def lose(self, cause: str, from_ns: int) -> None:
        """Something is lost, and nothing comes until data say otherwise."""
        self.live = False
        self.miss(cause, from_ns)

    def miss(self, cause: str, from_ns: int) -> None:
        """Something is lost from now on; an earlier loss that is still open covers it, and this one its members'."""
        if self.published and self._gap is None:
            self._gap = PendingGap(cause, from_ns)
        for silence in self.silences.values():
            silence.gap = None

    def miss_member(self, key: int, cause: str, from_ns: int) -> None:
        """The same of one member, unless the whole chain has a gap there."""
        silence = self.silences.setdefault(key, Silence())
        if silence.gap is None and self._gap is None:
            silence.gap = PendingGap(cause, from_ns)

    def set_state(self, state: str, reason: str, now: Instant) -> list[Effect]:
        """Says a change of its state."""
        if (self.state, self.reason) == (state, reason):
            return []
        self.state, self.reason, self.since_ns = state, reason, now.ns
        return [SetState(self.stream, state, reason, now.ns)]
