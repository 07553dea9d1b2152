"""Requests of history on their way: asked once for all who want the same, and under which ids they are asked again."""

from __future__ import annotations

from ibkr_actor.core.effects import Effect, Tell
from ibkr_actor.core.events import owner_of
from ibkr_actor.core.history.asks import BACKFILL, INTERACTIVE, Asks
from ibkr_actor.core.messages import Enqueue, RequestEnded, Withdraw
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import ReqHistoricalData
from tests.core.kit import at, only, stock, told

REQUEST = ReqHistoricalData(0, stock(), "20251231-21:00:00", "5 D", "1 hour", "TRADES", True)
OTHER = ReqHistoricalData(0, stock(), "20251224-18:00:00", "5 D", "1 hour", "TRADES", True)


def asks(*, up: bool = True) -> Asks:
    found = Asks(ReqIds("history"), timeout_s=60.0)
    if up:
        found.session_up(1)
    return found


def ids(effects: list[Effect]) -> list[int]:
    return [message.request.req_id for message in told(effects, Enqueue)]


def test_a_request_goes_to_pacing_under_an_id_of_history_for_this_connection() -> None:
    (tell,) = only(Tell, asks().add(REQUEST, ("a", 1), client="anna", priority=INTERACTIVE))
    assert tell.to == "pacing"
    assert isinstance(tell.message, Enqueue)
    assert owner_of(tell.message.request.req_id) == "history"
    assert (tell.message.priority, tell.message.client, tell.message.conn) == (INTERACTIVE, "anna", 1)


def test_the_same_request_is_asked_once_and_answers_all_who_wait() -> None:
    found = asks()
    (req_id,) = ids(found.add(REQUEST, ("a", 1), client="anna", priority=INTERACTIVE))
    assert found.add(REQUEST, ("b", 7), client="bert", priority=INTERACTIVE) == []
    assert len(ids(found.add(OTHER, ("a", 2), client="anna", priority=INTERACTIVE))) == 1
    ask = found.of(req_id)
    assert ask is not None
    assert ask.waiters == [("a", 1), ("b", 7)]
    assert told(found.close(ask), RequestEnded) == [RequestEnded(req_id)]
    assert found.of(req_id) is None
    assert len(found) == 1


def test_without_a_connection_it_waits_for_the_next() -> None:
    found = asks(up=False)
    assert found.add(REQUEST, ("a", 1), client="anna", priority=INTERACTIVE) == []
    assert len(ids(found.session_up(3))) == 1


def test_asked_again_it_has_another_id_and_late_answers_find_nobody() -> None:
    found = asks()
    (first,) = ids(found.add(REQUEST, ("a", 1), client="anna", priority=INTERACTIVE))
    ask = found.of(first)
    assert ask is not None
    effects = found.again(ask, at(5), ended=False)
    assert told(effects, Withdraw) == [Withdraw(first)]
    (second,) = ids(effects)
    assert second != first
    assert found.of(first) is None
    assert found.of(second) is ask


def test_asked_again_later_it_waits_until_then() -> None:
    found = asks()
    (first,) = ids(found.add(REQUEST, ("a", 1), client="anna", priority=INTERACTIVE))
    ask = found.of(first)
    assert ask is not None
    assert ids(found.again(ask, at(5), after_s=16.0)) == []
    assert found.next_wakeup_s() == 21.0
    assert found.due(at(20.9)) == ([], [])
    effects, silent = found.due(at(21.0))
    assert (len(ids(effects)), silent) == (1, [])


def test_what_waits_for_its_time_is_not_asked_earlier_by_a_reconnect_and_not_forgotten_either() -> None:
    found = asks()
    (first,) = ids(found.add(REQUEST, ("a", 1), client="anna", priority=INTERACTIVE))
    ask = found.of(first)
    assert ask is not None
    found.again(ask, at(5), after_s=16.0)
    found.session_down()
    assert ids(found.session_up(2)) == []
    assert len(ids(found.due(at(21.0))[0])) == 1
    found.again(ask, at(30), after_s=16.0)
    found.session_down()
    assert found.due(at(46.0)) == ([], [])
    assert len(ids(found.session_up(3))) == 1


def test_ibs_time_runs_from_when_it_was_sent_and_anew_with_each_part_of_an_answer() -> None:
    found = asks()
    (req_id,) = ids(found.add(REQUEST, ("a", 1), client="anna", priority=INTERACTIVE))
    assert found.next_wakeup_s() is None
    found.was_sent(req_id, at(100))
    assert found.next_wakeup_s() == 160.0
    found.goes_on(req_id, at(130))
    assert found.due(at(189)) == ([], [])
    assert found.due(at(190)) == ([], [found.of(req_id)])


def test_who_leaves_takes_only_what_nobody_else_wants() -> None:
    found = asks()
    (shared,) = ids(found.add(REQUEST, ("a", 1), client="anna", priority=INTERACTIVE))
    found.add(REQUEST, ("b", 1), client="bert", priority=INTERACTIVE)
    (own,) = ids(found.add(OTHER, ("a", 2), client="anna", priority=INTERACTIVE))
    assert told(found.leave("a"), Withdraw) == [Withdraw(own)]
    ask = found.of(shared)
    assert ask is not None
    assert ask.waiters == [("b", 1)]
    assert told(found.leave("b"), Withdraw) == [Withdraw(shared)]
    assert len(found) == 0


def test_one_in_a_hurry_moves_it_forward_only_while_it_waits_in_pacing() -> None:
    found = asks()
    (first,) = ids(found.add(REQUEST, ("a", 1), client="anna", priority=BACKFILL))
    effects = found.add(REQUEST, ("b", 1), client="bert", priority=INTERACTIVE)
    assert told(effects, Withdraw) == [Withdraw(first)]
    (moved,) = told(effects, Enqueue)
    assert (moved.priority, moved.client) == (INTERACTIVE, "bert")
    (sent,) = ids(found.add(OTHER, ("a", 2), client="anna", priority=BACKFILL))
    found.was_sent(sent, at(1))
    assert found.add(OTHER, ("b", 2), client="bert", priority=INTERACTIVE) == []


def test_a_lost_connection_forgets_ids_and_deadlines_but_not_who_waits() -> None:
    found = asks()
    (first,) = ids(found.add(REQUEST, ("a", 1), client="anna", priority=INTERACTIVE))
    found.was_sent(first, at(1))
    found.session_down()
    assert found.of(first) is None
    assert found.next_wakeup_s() is None
    (second,) = ids(found.session_up(2))
    ask = found.of(second)
    assert ask is not None
    assert (ask.waiters, ask.failures) == ([("a", 1)], 0)
