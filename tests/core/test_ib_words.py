"""One message for an outage, however many lines it touches and however often they are asked for in vain."""

from __future__ import annotations

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Effect
from ibkr_actor.schema.records import System
from tests.core.desk import Desk
from tests.core.kit import only, stock

COMPETING = 10197
BUST = 10225


def words(effects: list[Effect]) -> list[System]:
    return [each.record for each in only(Announce, effects) if each.record.code is not None]


def two_hundred() -> tuple[Desk, list[int]]:
    desk = Desk(SubscriptionsConfig(lines=200, probe_s=60.0))
    req_ids = []
    for n in range(200):
        desk.subscribe("quote", contract=stock(f"S{n}", n + 1), id=str(n))
        req_ids.append(desk.last_req_id)
        desk.price(desk.last_req_id, 1)
    return desk, req_ids


def test_a_word_on_two_hundred_lines_is_two_messages() -> None:
    desk, req_ids = two_hundred()
    effects = [effect for req_id in req_ids for effect in desk.error(req_id, COMPETING, 10)]
    (first,) = words(effects)
    assert first.subject == "quote:S0.STK.SMART.USD"
    (rest,) = words(desk.wake(20))
    assert rest.subject == "streams"
    assert rest.code == COMPETING
    assert "199 more streams: quote:S1.STK.SMART.USD" in rest.message
    assert "and 194 more" in rest.message


def test_a_line_that_is_probed_in_vain_says_nothing_new() -> None:
    desk = Desk(SubscriptionsConfig(probe_s=60.0))
    desk.subscribe("quote")
    said = words(desk.error(desk.last_req_id, COMPETING, 10))
    for n in range(1, 100):
        desk.wake(10 + 60 * n)
        said += words(desk.error(desk.last_req_id, COMPETING, 11 + 60 * n))
    assert len(said) == 1
    desk.wake(10_000)
    assert len(words(desk.error(desk.last_req_id, COMPETING, 10_001))) == 1


def test_what_happens_again_is_said_again() -> None:
    desk = Desk()
    desk.subscribe("quote")
    said = words(desk.error(desk.last_req_id, BUST, 10))
    said += words(desk.error(desk.last_req_id, BUST, 60))
    assert len(said) == 2
