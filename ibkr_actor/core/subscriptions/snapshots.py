"""Owns snapshots of level 1 asked for by command: what has come of each, and the one answer it ends with.

Feeds no stream and holds no line: a snapshot ends by itself, or after its time.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, field

from ibkr_actor.core import events
from ibkr_actor.core.codes.meaning import lookup
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Answer, CommandRef, Effect, Instant, Tell
from ibkr_actor.core.lines.quote import TopOfBook
from ibkr_actor.core.lines.tick_types import DELAYED_TICKS, GREEKS_SOURCE_OF, QUOTE_PRICES, QUOTE_SIZES, TickType
from ibkr_actor.core.lines.tick_values import price_of_tick, size_of_tick, value_of_tick
from ibkr_actor.core.messages import Enqueue, RateExceeded, RequestEnded, RequestRefused, Withdraw
from ibkr_actor.core.replies import expired, rejected, rejection_of
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import ReqMktData
from ibkr_actor.schema.commands import Rejection, Reply, Snapshot
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import FEED_DELAYED

# Source: IBKR, TWS API, "Regulatory Snapshot": 0.01 USD each, for listed US stocks and options.
COST: Final = (
    "IB charges for every regulatory snapshot, 0.01 USD for a US stock, until the month's sum is the price of the "
    "subscription"
)
_NAMES: Final = {int(tick_type): tick_type.name.lower().removeprefix("delayed_") for tick_type in TickType}
_COMPUTED: Final = (
    "implied_vol", "delta", "gamma", "vega", "theta", "option_price", "pv_dividend", "underlying_price",
)  # fmt: skip

# The contract's identity, its exchange, and whether it is regulatory.
Key = tuple[str, str, bool]


class Waiter(Struct, frozen=True):
    """A command that waits; `own_deadline` when it is its own deadline that ends the wait."""

    ref: CommandRef
    key: Key
    own_deadline: bool


class Taken(Struct):
    """One snapshot on its way. `doubt` is what IB warned of; `values` are ticks by name, `greeks` by source."""

    key: Key
    contract: Contract
    client: str
    feed: int
    req_id: int = 0
    asks: int = 0
    routed: bool = False
    top: TopOfBook = field(default_factory=TopOfBook)
    values: dict[str, float | str | None] = field(default_factory=dict)
    greeks: dict[str, dict[str, float | None]] = field(default_factory=dict)
    min_tick: float | None = None
    bbo_exchange: str = ""
    received_ns: int = 0
    doubt: Rejection | None = None
    waiters: list[int] = field(default_factory=list)


class Snapshots:
    """The snapshots under way; who asks for the same meanwhile shares it. Caller: `SubscriptionsCore` only."""

    def __init__(self, config: SubscriptionsConfig, req_ids: ReqIds) -> None:
        self._config = config
        self._req_ids = req_ids
        # contract and regulatory -> snapshot, and the same by req_id.
        self._taken: dict[Key, Taken] = {}
        self._by_req: dict[int, Taken] = {}
        # number -> waiter; cleared when answered.
        self._waiters: dict[int, Waiter] = {}
        self._count = 0
        self.deadlines = Deadlines[int]()

    def __len__(self) -> int:
        return len(self._taken)

    def owns(self, req_id: int) -> bool:
        """Whether the request is a snapshot under way."""
        return req_id in self._by_req

    def command(
        self, ref: CommandRef, command: Snapshot, contract: Contract, conn: int | None, now: Instant
    ) -> list[Effect]:
        """Asks IB, or waits for the snapshot that is under way."""
        if contract.sec_type == "CONTFUT":
            text = f"{contract.instrument}: IB has no snapshot of a continuous future; ask for the future itself"
            return [rejected(ref, Rejection("unsupported", text))]
        if conn is None:
            return [rejected(ref, _no_connection("there is no connection to IB now"))]
        if len(self._waiters) >= self._config.snapshots_max:
            text = f"{self._config.snapshots_max} snapshots are under way"
            return [rejected(ref, Rejection("busy", text, None, True, 1.0))]
        left_s = self._config.snapshot_timeout_s
        if command.deadline_ms is not None:
            left_s = min(left_s, (command.deadline_ms * 1_000_000 - now.ns) / 1e9)
        key = (contract.identity, contract.exchange, command.regulatory)
        self._count += 1
        self._waiters[self._count] = Waiter(ref, key, left_s < self._config.snapshot_timeout_s)
        self.deadlines.set(self._count, now.s + left_s)
        taken = self._taken.get(key)
        if taken is not None:
            taken.waiters.append(self._count)
            return []
        taken = Taken(key, contract, ref.client, self._config.market_data_type, waiters=[self._count])
        self._taken[key] = taken
        return [self._ask(taken, contract, conn)]

    def _ask(self, taken: Taken, contract: Contract, conn: int) -> Effect:
        regulatory = taken.key[2]
        taken.req_id = self._req_ids.next()
        taken.asks += 1
        self._by_req[taken.req_id] = taken
        request = ReqMktData(taken.req_id, contract, snapshot=not regulatory, regulatory_snapshot=regulatory)
        return Tell("pacing", Enqueue(request, client=taken.client, conn=conn))

    # ---- data

    def take(self, event: events.MarketDataEvent, conn: int | None) -> list[Effect]:
        """Takes in what came; the end of the snapshot answers."""
        taken = self._by_req[event.req_id]
        taken.received_ns = event.received_ns
        match event:
            case events.TickPrice(tick_type=tick_type):
                taken.feed = _feed(taken.feed, tick_type)
                if tick_type in QUOTE_PRICES:
                    taken.top.merge_price(event)
                else:
                    taken.values[_name(tick_type)] = price_of_tick(event)
            case events.TickSize(tick_type=tick_type):
                taken.feed = _feed(taken.feed, tick_type)
                if tick_type in QUOTE_SIZES:
                    taken.top.merge_size(event)
                else:
                    taken.values[_name(tick_type)] = size_of_tick(event)
            case events.TickGeneric() | events.TickString():
                taken.feed = _feed(taken.feed, event.tick_type)
                taken.values[_name(event.tick_type)] = value_of_tick(event)
            case events.TickOptionComputation():
                source = GREEKS_SOURCE_OF.get(event.tick_type, str(event.tick_type))
                taken.greeks[source] = {name: getattr(event, name) for name in _COMPUTED}
            case events.MarketDataType():
                taken.feed = event.feed
            case events.TickReqParams():
                taken.min_tick, taken.bbo_exchange = event.min_tick, event.bbo_exchange
            case events.Rerouted():
                return self._reroute(taken, event, conn)
            case events.TickSnapshotEnd():
                return [Tell("pacing", RequestEnded(event.req_id)), *self._finish(taken)]
        return []

    def _reroute(self, taken: Taken, event: events.Rerouted, conn: int | None) -> list[Effect]:
        ended = Tell("pacing", RequestEnded(event.req_id))
        if taken.routed or conn is None:
            text = "IB names another contract for this one's data, and that another again"
            return [ended, *self._reject(taken, Rejection("unsupported", text))]
        taken.routed = True
        del self._by_req[event.req_id]
        return [ended, self._ask(taken, Contract(event.con_id, "", "", event.exchange, ""), conn)]

    def _finish(self, taken: Taken, note: str | None = None) -> list[Effect]:
        if taken.doubt is not None and not _has_data(taken):
            return self._reject(taken, taken.doubt)
        return [_answer(waiter.ref, taken, note) for waiter in self._close(taken)]

    # ---- ends

    def error(self, event: events.ErrorNotice, conn: int | None) -> list[Effect]:
        """What IB says of a snapshot under way. What costs money is not asked for twice."""
        taken = self._by_req[event.req_id]
        row = lookup(event.code, event.req_id)
        effects: list[Effect] = [Tell("pacing", RateExceeded(event.code))] if row.effect == "slow_down" else []
        again = row.effect in ("new_id", "slow_down") and not taken.key[2] and taken.asks < self._config.max_asks
        if again and conn is not None:
            del self._by_req[event.req_id]
            return [*effects, Tell("pacing", RequestEnded(event.req_id)), self._ask(taken, taken.contract, conn)]
        if row.effect in ("prove", "starve"):
            taken.doubt = rejection_of(row, event)
            return effects
        if not (row.ends_request or row.effect in ("slow_down", "reconnect")):
            return effects
        return [*effects, Tell("pacing", RequestEnded(event.req_id)), *self._reject(taken, rejection_of(row, event))]

    def refused(self, message: RequestRefused) -> list[Effect]:
        """Pacing had no room for the request."""
        rejection = Rejection("busy", message.reason, None, True, message.retry_after_s)
        return self._reject(self._by_req[message.req_id], rejection)

    def end_all(self, text: str) -> list[Effect]:
        """The connection is gone, or the sidecar stops: everyone who waits is told."""
        return [effect for taken in list(self._taken.values()) for effect in self._reject(taken, _no_connection(text))]

    def wake_up(self, now: Instant) -> list[Effect]:
        """Answers those whose time is over, with what there is."""
        effects: list[Effect] = []
        for number in self.deadlines.due(now.s):
            waiter = self._waiters.pop(number)
            taken = self._taken[waiter.key]
            taken.waiters.remove(number)
            effects.append(self._timed_out(waiter, taken))
            if not taken.waiters:
                effects.append(Tell("pacing", Withdraw(taken.req_id)))
                self._close(taken)
        return effects

    def _timed_out(self, waiter: Waiter, taken: Taken) -> Effect:
        if waiter.own_deadline:
            return expired(waiter.ref)
        if _has_data(taken):
            return _answer(waiter.ref, taken, "IB did not say that this is all")
        text = f"IB sent nothing within {self._config.snapshot_timeout_s:g} s"
        return rejected(waiter.ref, taken.doubt or Rejection("farm_transient", text, None, True, 5.0))

    def _reject(self, taken: Taken, rejection: Rejection) -> list[Effect]:
        return [rejected(waiter.ref, rejection) for waiter in self._close(taken)]

    def _close(self, taken: Taken) -> list[Waiter]:
        """Ends a snapshot; returns who waited, in the order they came."""
        del self._taken[taken.key]
        self._by_req.pop(taken.req_id, None)
        for number in taken.waiters:
            self.deadlines.clear(number)
        return [self._waiters.pop(number) for number in taken.waiters]


def _has_data(taken: Taken) -> bool:
    return taken.top.changed is not None or bool(taken.values) or bool(taken.greeks)


def _answer(ref: CommandRef, taken: Taken, note: str | None) -> Effect:
    top = taken.top
    result: dict[str, object] = {
        "instrument": taken.contract.instrument,
        "con_id": taken.contract.con_id,
        "feed": taken.feed,
        "received_ns": str(taken.received_ns),
        "bid": top.bid,
        "ask": top.ask,
        "last": top.last,
        "bid_size": top.bid_size,
        "ask_size": top.ask_size,
        "last_size": top.last_size,
        "volume": top.volume,
        "ticks": dict(sorted(taken.values.items())),
        "greeks": msgspec.to_builtins(taken.greeks),
        "min_tick": taken.min_tick,
        "bbo_exchange": taken.bbo_exchange or None,
    }
    if not _has_data(taken):
        note = "IB sent no data for it"
    notes = [text for text in (note, COST if taken.key[2] else None) if text]
    return Answer(ref, Reply(ref.id, ref.op, "result", result=result, note="; ".join(notes) or None))


def _no_connection(text: str) -> Rejection:
    return Rejection("connection_failed", text, None, True, 5.0)


def _name(tick_type: int) -> str:
    """The name of a tick, the same for delayed data; the number of one that is not known."""
    return _NAMES.get(tick_type, str(tick_type))


def _feed(feed: int, tick_type: int) -> int:
    return FEED_DELAYED if feed < FEED_DELAYED and tick_type in DELAYED_TICKS else feed
