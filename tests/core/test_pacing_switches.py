"""A request that switches the market data type takes three messages of IB's rate, and they leave together."""

from __future__ import annotations

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import Send
from ibkr_actor.core.messages import Enqueue, SessionUp, WakeUp
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.requests import ReqMktData
from tests.core.kit import at, only, stock


def test_a_switch_waits_until_all_its_messages_fit_and_all_are_counted() -> None:
    # Ten messages a second; startApi is the first.
    pacing = PacingCore(PacingConfig(lines=20, message_margin_s=0.0))
    pacing.handle(SessionUp(1, 200), at(0))
    sent = []
    for number in range(4):
        request = ReqMktData(10 * number + 2, stock(), feed=3, feed_after=1)
        sent += only(Send, pacing.handle(Enqueue(request, conn=1), at(0)))
    assert len(sent) == 3
    assert pacing.next_wakeup_s() == 1.0
    assert len(only(Send, pacing.handle(WakeUp(), at(1)))) == 1
