"""A subscriptions core at work: sends commands as contracts would, and remembers which request feeds what."""

from __future__ import annotations

from msgspec import structs

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Effect
from ibkr_actor.core.events import (
    ErrorNotice,
    MarketDataEvent,
    TickByTickLast,
    TickPrice,
    TickString,
)
from ibkr_actor.core.messages import (
    MarketData,
    RequestSent,
    ResolvedCommand,
    SessionDown,
    SessionUp,
    WakeUp,
)
from ibkr_actor.core.subscriptions.core import SubscriptionsCore
from ibkr_actor.schema.commands import AnyCommand, PriorityName, Subscribe, Unsubscribe
from ibkr_actor.schema.instruments import Contract
from tests.core.kit import asked, at, ns, ref, stock


class Desk:
    def __init__(
        self, config: SubscriptionsConfig | None = None, *, up: bool = True, looks_every_s: float = 0.0
    ) -> None:
        """`looks_every_s`: how often lines are looked at for their freshness; only tests of that need it."""
        config = structs.replace(config or SubscriptionsConfig(), sweep_s=looks_every_s, hours_look_s=0.0)
        self.core = SubscriptionsCore(config)
        self.conn = 0
        self.last_req_id = 0
        if up:
            self.up(0)

    def note(self, effects: list[Effect]) -> list[Effect]:
        for request in asked(effects):
            self.last_req_id = request.req_id
        return effects

    def up(self, s: float) -> list[Effect]:
        self.conn += 1
        return self.note(self.core.handle(SessionUp(self.conn, 200), at(s)))

    def down(self, s: float) -> list[Effect]:
        return self.core.handle(SessionDown(self.conn, ns(s), "disconnect", "lost"), at(s))

    def send(
        self, command: AnyCommand, s: float, id: str = "1", client: str = "c", contract: Contract | None = None
    ) -> list[Effect]:
        op = str(type(command).__struct_config__.tag)
        return self.note(self.core.handle(ResolvedCommand(ref(id, client, op), command, contract), at(s)))

    def subscribe(
        self,
        *kinds: str,
        s: float = 0,
        id: str = "1",
        client: str = "c",
        contract: Contract | None = None,
        lease_s: float = 0.0,
        ticks: list[int] | None = None,
        priority: PriorityName = "normal",
    ) -> list[Effect]:
        contract = contract or stock()
        command = Subscribe(
            instrument=contract.instrument,
            kinds=list(kinds),
            lease_s=lease_s,
            generic_ticks=ticks or [],
            priority=priority,
        )
        return self.send(command, s, id, client, contract)

    def unsubscribe(
        self, *kinds: str, s: float, id: str = "9", client: str = "c", contract: Contract | None = None
    ) -> list[Effect]:
        contract = contract or stock()
        command = Unsubscribe(instrument=contract.instrument, kinds=list(kinds) or None)
        return self.send(command, s, id, client, contract)

    def data(self, *events: MarketDataEvent, s: float) -> list[Effect]:
        return self.note(self.core.handle(MarketData(list(events)), at(s)))

    def price(self, req_id: int, s: float, value: float = 1.5, tick_type: int = 1) -> list[Effect]:
        return self.data(TickPrice(req_id, ns(s), tick_type, value, "10", 0), s=s)

    def text(self, req_id: int, s: float) -> list[Effect]:
        return self.data(TickString(req_id, ns(s), 45, "1"), s=s)

    def trade(self, req_id: int, s: float) -> list[Effect]:
        return self.data(TickByTickLast(req_id, ns(s), False, ns(0), 1.5, "1", False, False, "X", ""), s=s)

    def error(self, req_id: int, code: int, s: float, text: str = "what IB says") -> list[Effect]:
        notice = ErrorNotice(self.conn, ns(s), req_id, code, text)
        return self.note(self.core.handle(notice, at(s)))

    def sent(self, req_id: int, s: float) -> None:
        self.core.handle(RequestSent(req_id, s), at(s))

    def wake(self, s: float) -> list[Effect]:
        return self.note(self.core.handle(WakeUp(), at(s)))
