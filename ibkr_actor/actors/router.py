"""Events to their owners: each event's base class, or the last digit of its req_id, names the actor.

Keeps the order of a burst per owner, and hands market data over as one message. Decides nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.core.effects import ActorName
from ibkr_actor.core.events import (
    ContractDetails,
    ContractDetailsEnd,
    ContractsEvent,
    ErrorNotice,
    Event,
    MarketDataEvent,
    ReferenceEvent,
    SessionEvent,
    owner_of,
)
from ibkr_actor.core.history.events import HistoricalBars, HistoricalBarsEnd, HistoryEvent
from ibkr_actor.core.messages import MarketData
from ibkr_actor.core.reference.events import NewsBulletin, ScanEnd, ScanRow


def owner(event: Event) -> ActorName:
    """The actor an event belongs to.

    Raises:
        TypeError: its class names no owner.
    """
    match event:
        case MarketDataEvent():
            return "subscriptions"
        case ErrorNotice():
            return owner_of(event.req_id)
        case ContractDetails() | ContractDetailsEnd() if owner_of(event.req_id) == "reference":
            # Of a chain, whose options are asked for by the expiry.
            return "reference"
        case ContractDetails() | ContractDetailsEnd() if owner_of(event.req_id) == "subscriptions":
            # Of the future at the front of a continuous one.
            return "subscriptions"
        case NewsBulletin():
            return "subscriptions"
        case ScanRow() | ScanEnd() if owner_of(event.req_id) == "subscriptions":
            # Of a scan that is a stream.
            return "subscriptions"
        case ContractsEvent():
            return "contracts"
        case ReferenceEvent():
            return "reference"
        case HistoricalBars() | HistoricalBarsEnd() if owner_of(event.req_id) == "subscriptions":
            # Of a request whose bars are kept up to date.
            return "subscriptions"
        case HistoryEvent():
            return "history"
        case SessionEvent():
            return "session"
    raise TypeError(f"{type(event).__name__} names no owner")


def grouped(events: Sequence[Event]) -> list[tuple[ActorName, Struct]]:
    """Messages in the order to deliver: runs of market data as one `MarketData`, the rest one by one."""
    out: list[tuple[ActorName, Struct]] = []
    run: list[MarketDataEvent] = []
    for event in events:
        if isinstance(event, MarketDataEvent):
            run.append(event)
            continue
        # What ends a run must not overtake it: a lost connection comes after the last data it carried.
        if run:
            out.append(("subscriptions", MarketData(run)))
            run = []
        out.append((owner(event), event))
    if run:
        out.append(("subscriptions", MarketData(run)))
    return out


class Router:
    """Delivers bursts, waiting where a mailbox is full: that wait is what holds back the socket."""

    def __init__(self, mailboxes: Mapping[ActorName, Mailbox]) -> None:
        self._mailboxes = mailboxes

    async def deliver(self, events: Sequence[Event]) -> None:
        """Puts each event into its owner's mailbox."""
        for to, message in grouped(events):
            await self._mailboxes[to].put(message)
