"""The replaced system's defects of the life of a connection, one by one, each shown not to happen here.

D16 to D22 are the numbers under which they were found; each test would fail on the code that had them.
"""

from __future__ import annotations

import random

import pytest

from ibkr_actor import configs
from ibkr_actor.actors.clock import Clock
from ibkr_actor.core.codes.meaning import ROWS
from ibkr_actor.core.config import SessionConfig, SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Connect, Disconnect, Effect, Notify, Publish, SetFreshness, SetState
from ibkr_actor.core.events import Connected, ConnectFailed, ConnectionLost, ErrorNotice, NextValidId
from ibkr_actor.core.messages import (
    DataLost,
    FarmChanged,
    RequestSent,
    SessionDown,
    Start,
    UpstreamUp,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.session.core import SessionCore
from ibkr_actor.core.session.reset_windows import NORTH_AMERICA
from ibkr_actor.core.session.states import State
from ibkr_actor.load_settings import load_settings
from ibkr_actor.schema.commands import History, Subscribe, Unsubscribe
from ibkr_actor.schema.records import Gap, Quote
from tests.core.desk import Desk
from tests.core.kit import asked, at, ns, one, only, said, states, told
from tests.core.test_freshness import Watched, gaps, liquid
from tests.e2e.past import delivered
from tests.e2e.test_night import back, night

FAILING = sorted(
    code for code, row in ROWS.items() if row.effect == "fail" and row.scope == "request" and row.rejection is not None
)


def session_up(config: SessionConfig | None = None) -> SessionCore:
    session = SessionCore(config or SessionConfig(), random.Random(7))
    session.handle(Start(), at(0))
    session.handle(Connected(1, ns(0), 200, "now"), at(0))
    session.handle(NextValidId(1, 1), at(0))
    return session


def notice(session: SessionCore, code: int, text: str, s: float) -> list[Effect]:
    conn = session.status(at(s))["conn"]
    assert isinstance(conn, int)
    return session.handle(ErrorNotice(conn, ns(s), -1, code, text), at(s))


# ---- D16: an error inside a stream lost its kind: it came out as `IBKR_None`


@pytest.mark.parametrize("code", FAILING)
def test_d16_an_error_inside_a_stream_keeps_its_kind_and_ibs_code(code: int) -> None:
    desk = Desk()
    desk.subscribe("quote")
    (told_,) = only(Notify, desk.error(desk.last_req_id, code, 1))
    error = told_.reply.error
    assert error is not None
    assert (error.code, error.ib_code, error.retryable) == (ROWS[code].rejection, code, ROWS[code].retryable)


# ---- D17: what IB says changed nothing; "HMDS data farm connection is OK" was an error


@pytest.mark.parametrize(
    ("code", "text", "what"),
    [
        (1101, "restored - data lost", DataLost),
        (1102, "restored - data maintained", UpstreamUp),
        (2103, "Market data farm connection is broken:usfarm", FarmChanged),
        (2104, "Market data farm connection is OK:usfarm", FarmChanged),
        (2105, "HMDS data farm connection is broken:ushmds", FarmChanged),
        (2106, "HMDS data farm connection is OK:ushmds", FarmChanged),
        (2157, "Sec-def data farm connection is broken:secdefnj", FarmChanged),
    ],
)
def test_d17_a_word_on_the_connection_or_a_farm_reaches_whom_it_concerns(code: int, text: str, what: type) -> None:
    session = session_up()
    notice(session, 1100, "lost", 1)
    assert told(notice(session, code, text, 2), what)


def test_d17_a_farm_that_is_ok_is_no_error() -> None:
    session = session_up()
    effects = notice(session, 2106, "HMDS data farm connection is OK:ushmds", 1)
    (record,) = [each.record for each in only(Announce, effects)]
    assert (record.topic, record.event, record.subject) == ("farm", "up", "ushmds")
    assert session.state is State.READY


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (10197, ("quote", "starved", "competing_session")),
        (101, ("quote", "ended", "failed")),
        (10190, ("quote", "ended", "failed")),
    ],
)
def test_d17_a_word_of_ib_on_a_line_changes_its_state(code: int, state: tuple[str, str, str]) -> None:
    desk = Desk()
    desk.subscribe("quote")
    assert state in states(desk.error(desk.last_req_id, code, 1))


@pytest.mark.parametrize("code", [10090, 10167])
def test_d17_a_word_that_ends_nothing_is_said_and_ends_nothing(code: int) -> None:
    desk = Desk()
    desk.subscribe("quote")
    effects = desk.error(desk.last_req_id, code, 1)
    assert [each.record.code for each in only(Announce, effects)] == [code]
    assert only(SetState, effects) == []
    assert only(Notify, effects) == []


# ---- D18: after a reconnect nothing was asked for again, and the last price went on for ever


def test_d18_a_lost_connection_is_stale_at_once_and_never_says_an_old_price_again() -> None:
    house = liquid()
    assert house.fresh() == "fresh"
    effects = house.handle(SessionDown(house.conn, house.now.ns, "disconnect", "lost"))
    effects += house.run(3_600)
    assert [each.freshness for each in only(SetFreshness, effects)] == ["stale"]
    assert only(Publish, effects) == []


@pytest.mark.anyio
async def test_d18_after_a_reconnect_every_stream_is_asked_for_again_and_alive() -> None:
    async with night() as (sim, house):
        keys = [*await house.subscribe("AAPL", "quote", "bar.5s"), *await house.subscribe("MSFT", "quote")]
        for key in keys:
            await house.until(key, lambda records: len(records) > 2)
        sim.cut()
        found = await back(house, keys)
        assert {key: [gap.cause for gap in found[key]] for key in keys} == {key: ["disconnect"] for key in keys}


# ---- D19: one attempt, and its failure ended every stream


def test_d19_it_tries_for_ever_with_growing_jittered_pauses() -> None:
    session = SessionCore(
        SessionConfig(backoff_initial_s=0.25, backoff_max_s=5.0, login_after=10_000), random.Random(7)
    )
    now_s, pauses = 0.0, []
    effects = session.handle(Start(), at(0))
    for _ in range(1_000):
        connect = one(Connect, effects)
        session.handle(ConnectFailed(connect.conn, ns(now_s), "refused"), at(now_s))
        due_s = session.next_wakeup_s()
        assert due_s is not None
        pauses.append(due_s - now_s)
        now_s = due_s
        effects = session.handle(WakeUp(), at(now_s))
    assert 0.125 <= pauses[0] <= 0.25
    assert all(2.5 <= pause <= 5.0 for pause in pauses[10:])
    assert len(set(pauses)) > 900
    assert session.state is State.CONNECTING


def test_d19_no_holder_is_lost_while_it_tries() -> None:
    desk = Desk()
    desk.subscribe("quote")
    desk.price(desk.last_req_id, 1)
    for n in range(100):
        effects = desk.down(10 + n)
        assert only(Notify, effects) == []
    assert states(desk.up(200)) == [("quote", "pending", "")]


# ---- D20: the read time-out was the connect time-out, and nothing noticed a silent socket


def test_d20_the_read_time_out_is_for_reading_and_the_connect_time_out_for_connecting() -> None:
    settings = load_settings(read_timeout_sec=30.0, connect_timeout_s=3.0)
    assert configs.gateway(settings).connect_timeout_s == 3.0
    session = configs.session(settings)
    assert session.heartbeat_interval_s + session.heartbeat_timeout_s == 30.0


def test_d20_a_silent_gateway_is_asked_and_then_left_within_the_read_time_out() -> None:
    session = session_up(SessionConfig(heartbeat_interval_s=10.0, heartbeat_timeout_s=10.0))
    (request,) = asked(session.handle(WakeUp(), at(10)))
    session.handle(RequestSent(request.req_id, 10.0), at(10))
    effects = session.handle(WakeUp(), at(20))
    assert only(Disconnect, effects) == [Disconnect(1)]
    assert session.state is not State.READY


# ---- D21: nothing knew of nights, logins, client ids, market hours or gaps


def test_d21_a_client_id_in_use_is_followed_by_the_next_of_the_pool() -> None:
    session = session_up(SessionConfig(client_ids=(17, 18, 19)))
    ids = []
    for s in (1.0, 20.0, 40.0):
        notice(session, 326, "in use", s)
        due_s = session.next_wakeup_s()
        assert due_s is not None
        connect = one(Connect, session.handle(WakeUp(), at(due_s)))
        ids.append(connect.client_id)
        session.handle(Connected(connect.conn, ns(due_s), 200, "now"), at(due_s))
    assert ids == [18, 19, 17]


def test_d21_in_the_time_of_ibs_nightly_reset_the_wait_is_patient_and_said_once() -> None:
    # 23:50 in New York, a Thursday.
    night_s = 4 * 86_400.0 - 43_200.0 - 7 * 3_600.0 - 600.0
    session = session_up(SessionConfig(reset_windows=NORTH_AMERICA))
    lost = session.handle(ConnectionLost(1, ns(night_s), "closed"), at(night_s))
    state, spoken, now_s = session.state, said(lost), night_s
    for _ in range(20):
        due_s = session.next_wakeup_s()
        assert due_s is not None
        effects = session.handle(WakeUp(), at(due_s))
        spoken += said(effects)
        conn = one(Connect, effects).conn
        spoken += said(session.handle(ConnectFailed(conn, ns(due_s), "refused"), at(due_s)))
        now_s = due_s
    assert state is State.SCHEDULED_OUTAGE
    assert spoken == ["lost"]
    assert now_s - night_s < 20 * 15.1


def test_d21_a_gateway_that_waits_for_its_login_is_named_so() -> None:
    session = SessionCore(SessionConfig(login_after=3), random.Random(7))
    effects = session.handle(Start(), at(12 * 3_600))
    for n in range(3):
        now_s = 12 * 3_600 + 60.0 * n
        conn = one(Connect, effects).conn
        session.handle(ConnectFailed(conn, ns(now_s), "no greeting", taken=True), at(now_s))
        effects = session.handle(WakeUp(), at(now_s + 59)) if n < 2 else []
    assert session.state is State.WAITING_FOR_LOGIN


def test_d21_an_interruption_is_a_gap_and_a_closed_market_is_none() -> None:
    house = liquid()
    house.handle(SessionDown(house.conn, house.now.ns, "disconnect", "lost"))
    house.run(60)
    house.up()
    assert [gap.cause for gap in gaps(house.price("AAPL"))] == ["disconnect"]
    closed = Watched("2026-01-06 05:00")
    assert closed.fresh() == ""


# ---- D22: when any request ended, the socket and everyone's streams were torn down


def test_d22_one_client_that_leaves_takes_nothing_from_another() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", id="1")
    desk.subscribe("quote", client="b", id="2")
    desk.price(desk.last_req_id, 1)
    effects = desk.send(Unsubscribe(), 2, id="3", client="b")
    assert only(Disconnect, effects) == []
    assert only(SetState, effects) == []
    assert asked(effects) == []
    assert told(effects, Withdraw) == []
    assert [type(effect) for effect in desk.price(desk.last_req_id, 3)] != []


def test_d22_a_line_that_ib_refuses_takes_no_other_with_it() -> None:
    desk = Desk(SubscriptionsConfig())
    desk.subscribe("quote", id="1")
    quote = desk.last_req_id
    desk.price(quote, 1)
    desk.subscribe("trade", id="2")
    effects = desk.error(desk.last_req_id, 354, 2)
    assert {state[0] for state in states(effects)} == {"trade"}
    assert desk.price(quote, 3)


@pytest.mark.anyio
async def test_d22_others_that_come_ask_and_go_leave_a_stream_without_a_gap_on_the_same_connection() -> None:
    async with night(speed=1.0) as (_, house):
        (key,) = await house.subscribe("AAPL", "quote", client="a")
        await house.until(key, lambda records: len(records) > 2)
        for n in range(3):
            client = f"b{n}"
            await house.call(Subscribe(client=client, instrument="AAPL", kinds=["quote"], lease_s=0.0))
            await delivered(house.redis, History(instrument="AAPL", bar="1d", start="2026-01-05", end="2026-01-09"))
            await house.call(Unsubscribe(client=client))
        seen = len(await house.until(key, lambda records: len(records) > 2))
        records = await house.until(key, lambda records: len(records) > seen + 2)
        assert not any(isinstance(record, Gap) for record in records)
        assert isinstance(records[-1], Quote)
        assert house.sidecar.session.status(Clock()())["conn"] == 1
