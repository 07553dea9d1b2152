"""Many contracts at once: resolution waits for nothing but the message rate, and never exceeds it."""

from __future__ import annotations

from itertools import pairwise

from ibkr_actor.core.config import ContractsConfig, PacingConfig
from ibkr_actor.core.contracts.core import ContractsCore
from ibkr_actor.core.effects import Answer, Effect, Instant, Send, Tell
from ibkr_actor.core.events import ContractDetails, ContractDetailsEnd
from ibkr_actor.core.messages import CommandReceived, SessionUp, WakeUp
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.requests import ReqContractDetails
from ibkr_actor.schema.commands import Resolve
from ibkr_actor.schema.instruments import Contract
from tests.core.kit import at, ref

LINES = 100
COUNT = 500
# IB's rate is lines/2 a second; ours stretches each second by the margin of pacing.
PER_S = LINES // 2
MARGIN_S = PacingConfig().message_margin_s


class Pair:
    """Contracts and pacing, with an IB that answers every look-up at once."""

    def __init__(self) -> None:
        self.contracts = ContractsCore(ContractsConfig())
        self.pacing = PacingCore(PacingConfig(lines=LINES))
        self.sent_s: list[float] = []
        self.answered: list[str] = []

    def perform(self, effects: list[Effect], now: Instant) -> None:
        for effect in effects:
            match effect:
                case Answer(ref, reply):
                    assert reply.status == "result"
                    self.answered.append(ref.id)
                case Tell("pacing", message):
                    self.perform(self.pacing.handle(message, now), now)
                case Tell("contracts", message):
                    self.perform(self.contracts.handle(message, now), now)
                case Send(ReqContractDetails(req_id, query)):
                    self.sent_s.append(now.s)
                    found = Contract(1000 + len(self.sent_s), query.symbol, "STK", "SMART", "USD")
                    self.perform(self.contracts.handle(ContractDetails(req_id, found), now), now)
                    self.perform(self.contracts.handle(ContractDetailsEnd(req_id), now), now)


def test_500_contracts_are_resolved_in_the_time_that_the_message_rate_allows() -> None:
    pair = Pair()
    for core in (pair.pacing, pair.contracts):
        pair.perform(core.handle(SessionUp(1, 226), at(0)), at(0))
    for n in range(COUNT):
        command = CommandReceived(ref(str(n), "c", "resolve"), Resolve(instrument=f"S{n}"))
        pair.perform(pair.contracts.handle(command, at(0)), at(0))
    s = 0.0
    while len(pair.answered) < COUNT:
        next_s = pair.pacing.next_wakeup_s()
        assert next_s is not None
        s = max(s, next_s)
        pair.perform(pair.pacing.handle(WakeUp(), at(s)), at(s))
    assert sorted(map(int, pair.answered)) == list(range(COUNT))
    # One message more, for startApi, counts in the first second.
    assert s <= (COUNT + 1) / PER_S * (1 + MARGIN_S)
    assert all(b - a > 1.0 for a, b in zip(pair.sent_s, pair.sent_s[PER_S:], strict=False))
    assert all(b >= a for a, b in pairwise(pair.sent_s))
