from __future__ import annotations

import random

import pytest
from msgspec import Struct

from ibkr_actor.core.codes.meaning import ROWS
from ibkr_actor.core.config import SessionConfig
from ibkr_actor.core.effects import Announce, Connect, Disconnect, Effect, Stopped, Tell
from ibkr_actor.core.events import (
    Connected,
    ConnectFailed,
    ConnectionLost,
    CurrentTime,
    DecodeFailed,
    ErrorNotice,
    Heard,
    ManagedAccounts,
    NextValidId,
)
from ibkr_actor.core.messages import (
    DataLost,
    Enqueue,
    FarmChanged,
    GatewayMute,
    RateExceeded,
    RequestRefused,
    RequestSent,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    UpstreamDown,
    UpstreamUp,
    WakeUp,
)
from ibkr_actor.core.requests import ReqCurrentTime, ReqMarketDataType
from ibkr_actor.core.session.core import SessionCore
from ibkr_actor.core.session.farms import farm_name
from ibkr_actor.core.session.states import ASKING, OPEN, TABLE, UP, Input, State
from tests.core.kit import answer, asked, at, ns, one, only, ref, said, told


def core(config: SessionConfig | None = None) -> SessionCore:
    return SessionCore(config or SessionConfig(), random.Random(7))


def state_of(session: SessionCore) -> State:
    return session.state


def connected(conn: int = 1, s: float = 0.0) -> Connected:
    return Connected(conn, ns(s), 200, "20260101 00:00:00 EST")


def notice(code: int, message: str = "text", conn: int = 1, s: float = 0.0) -> ErrorNotice:
    return ErrorNotice(conn, ns(s), -1, code, message)


def ready(config: SessionConfig | None = None) -> SessionCore:
    session = core(config)
    session.handle(Start(), at(0))
    session.handle(connected(), at(1))
    session.handle(NextValidId(1, 5), at(2))
    assert state_of(session) is State.READY
    return session


def up_again(session: SessionCore, s: float) -> None:
    """Lets the backoff pass and brings the next connection up."""
    connect = one(Connect, session.handle(WakeUp(), at(s)))
    session.handle(connected(connect.conn, s), at(s))
    session.handle(NextValidId(connect.conn, 5), at(s))
    assert state_of(session) is State.READY


# ---- coming up


def test_a_start_opens_the_first_connection_with_the_first_client_id() -> None:
    session = core(SessionConfig(client_ids=(17, 18)))
    assert one(Connect, session.handle(Start(), at(0))) == Connect(1, 17)
    assert state_of(session) is State.CONNECTING


def test_it_is_ready_only_when_ib_says_its_next_valid_id() -> None:
    session = core()
    session.handle(Start(), at(0))
    assert only(Tell, session.handle(connected(), at(1))) == []
    assert state_of(session) is State.HANDSHAKING
    effects = session.handle(NextValidId(1, 5), at(2))
    up = SessionUp(1, 200)
    assert only(Tell, effects) == [Tell("pacing", up), *(Tell(name, up) for name in ASKING)]
    assert state_of(session) is State.READY


def test_a_next_valid_id_that_overtakes_the_end_of_the_handshake_counts() -> None:
    session = core()
    session.handle(Start(), at(0))
    session.handle(NextValidId(1, 5), at(1))
    assert told(session.handle(connected(), at(1)), SessionUp)
    assert state_of(session) is State.READY


def test_the_market_data_type_is_asked_before_anyone_else_may_ask() -> None:
    session = core(SessionConfig(market_data_type=3))
    session.handle(Start(), at(0))
    session.handle(connected(), at(1))
    tells = only(Tell, session.handle(NextValidId(1, 5), at(2)))
    assert [tell.to for tell in tells] == ["pacing", "pacing", *ASKING]
    assert tells[1].message == Enqueue(ReqMarketDataType(10, 3), priority=0, conn=1)


def test_live_data_needs_no_switch() -> None:
    session = core(SessionConfig(market_data_type=1))
    session.handle(Start(), at(0))
    session.handle(connected(), at(1))
    assert asked(session.handle(NextValidId(1, 5), at(2))) == []


def test_a_gateway_that_never_says_that_it_is_ready_is_left() -> None:
    session = core(SessionConfig(ready_timeout_s=15.0))
    session.handle(Start(), at(0))
    session.handle(connected(), at(1))
    assert session.next_wakeup_s() == 16.0
    assert session.handle(WakeUp(), at(15.9)) == []
    effects = session.handle(WakeUp(), at(16))
    assert one(Disconnect, effects) == Disconnect(1)
    assert state_of(session) is State.BACKING_OFF


# ---- going down and up again


def test_a_lost_connection_is_told_to_all_and_tried_again_with_a_new_number() -> None:
    session = ready()
    effects = session.handle(ConnectionLost(1, ns(10), "reset by peer"), at(10))
    assert [tell.to for tell in only(Tell, effects)] == ["pacing", *ASKING]
    down = told(effects, SessionDown)[0]
    assert (down.conn, down.at_ns, down.cause) == (1, ns(10), "disconnect")
    assert "reset by peer" in down.reason
    due_s = session.next_wakeup_s()
    assert due_s is not None
    assert 10.125 <= due_s <= 10.25
    assert session.handle(WakeUp(), at(10.1)) == []
    assert one(Connect, session.handle(WakeUp(), at(due_s))).conn == 2


def test_backoff_doubles_to_its_maximum_is_jittered_and_never_ends() -> None:
    session = core(SessionConfig(backoff_initial_s=0.25, backoff_max_s=5.0))
    effects = session.handle(Start(), at(0))
    full = [0.25, 0.5, 1.0, 2.0, 4.0, *[5.0] * 45]
    waits = []
    now_s = 0.0
    for _ in full:
        conn = one(Connect, effects).conn
        session.handle(ConnectFailed(conn, ns(now_s), "refused"), at(now_s))
        due_s = session.next_wakeup_s()
        assert due_s is not None
        waits.append(due_s - now_s)
        now_s = due_s
        effects = session.handle(WakeUp(), at(now_s))
    for wait, most in zip(waits, full, strict=True):
        assert most / 2 - 1e-9 <= wait <= most + 1e-9
    assert len({round(wait, 6) for wait in waits[5:]}) > 30


def test_two_sidecars_do_not_march_in_step() -> None:
    waits = []
    for seed in (1, 2):
        session = SessionCore(SessionConfig(), random.Random(seed))
        session.handle(Start(), at(0))
        session.handle(ConnectFailed(1, ns(0), "refused"), at(0))
        waits.append(session.next_wakeup_s())
    assert waits[0] != waits[1]


def test_backoff_starts_anew_only_after_a_connection_that_lasted() -> None:
    config = SessionConfig(backoff_initial_s=1.0, backoff_max_s=64.0, stable_s=30.0)
    session = ready(config)
    session.handle(ConnectionLost(1, ns(3), "x"), at(3))
    due_s = session.next_wakeup_s()
    assert due_s is not None
    up_again(session, due_s)
    session.handle(ConnectionLost(2, ns(due_s + 1), "x"), at(due_s + 1))
    flapping_s = (session.next_wakeup_s() or 0.0) - due_s - 1
    assert 1.0 <= flapping_s <= 2.0
    up_again(session, due_s + 5)
    session.handle(ConnectionLost(3, ns(due_s + 36), "x"), at(due_s + 36))
    lasted_s = (session.next_wakeup_s() or 0.0) - due_s - 36
    assert 0.5 <= lasted_s <= 1.0


def test_after_the_last_allowed_try_it_is_failed_and_says_so_until_it_is_started_anew() -> None:
    session = core(SessionConfig(max_attempts=2))
    session.handle(Start(), at(0))
    session.handle(ConnectFailed(1, ns(0), "refused"), at(0))
    session.handle(WakeUp(), at(1))
    effects = session.handle(ConnectFailed(2, ns(1), "refused"), at(1))
    assert state_of(session) is State.FAILED
    assert session.next_wakeup_s() is None
    assert "gives up after 2 tries" in one(Announce, effects).record.message
    assert session.handle(WakeUp(), at(100)) == []
    assert one(Connect, session.handle(Start(), at(101))).conn == 3


def test_with_reconnecting_off_the_first_loss_is_the_last() -> None:
    session = ready(SessionConfig(reconnect_enabled=False))
    effects = session.handle(ConnectionLost(1, ns(10), "x"), at(10))
    assert state_of(session) is State.FAILED
    assert told(effects, SessionDown)


def test_events_of_an_earlier_connection_are_dropped_and_counted() -> None:
    session = ready()
    session.handle(ConnectionLost(1, ns(10), "x"), at(10))
    session.handle(WakeUp(), at(11))
    late: list[Struct] = [NextValidId(1, 5), ConnectionLost(1, ns(11), "x"), notice(1101), connected(1)]
    for event in late:
        assert session.handle(event, at(11)) == []
    assert state_of(session) is State.CONNECTING
    assert session.status(at(11))["stale_events"] == 4


# ---- client ids


def test_a_client_id_in_use_gives_way_to_the_next_of_the_pool() -> None:
    session = core(SessionConfig(client_ids=(17, 18), backoff_initial_s=0.25))
    session.handle(Start(), at(0))
    session.handle(connected(), at(1))
    effects = session.handle(notice(326), at(1))
    assert one(Disconnect, effects) == Disconnect(1)
    assert session.next_wakeup_s() == 1.25
    assert session.handle(ConnectionLost(1, ns(1), "closed"), at(1)) == []
    assert one(Connect, session.handle(WakeUp(), at(1.25))) == Connect(2, 18)


def test_when_every_client_id_is_in_use_it_waits_longer_and_starts_over() -> None:
    session = core(SessionConfig(client_ids=(17, 18), backoff_initial_s=1.0, backoff_max_s=60.0))
    used = []
    now_s = 0.0
    effects = session.handle(Start(), at(0))
    for _ in range(4):
        connect = one(Connect, effects)
        used.append(connect.client_id)
        session.handle(notice(326, conn=connect.conn), at(now_s))
        now_s = session.next_wakeup_s() or 0.0
        effects = session.handle(WakeUp(), at(now_s))
    assert used == [17, 18, 17, 18]
    assert now_s > 1 + 1 + 2 + 4 - 1


def test_a_client_id_that_worked_is_kept() -> None:
    session = core(SessionConfig(client_ids=(17, 18)))
    session.handle(Start(), at(0))
    session.handle(notice(326), at(0))
    up_again(session, 1.0)
    session.handle(ConnectionLost(2, ns(100), "x"), at(100))
    assert one(Connect, session.handle(WakeUp(), at(101))).client_id == 18


# ---- TWS loses IB


def test_tws_without_ib_is_degraded_and_told_to_the_subscriptions() -> None:
    session = ready()
    effects = session.handle(notice(1100, s=10), at(10))
    assert only(Tell, effects) == [Tell(to, UpstreamDown(ns(10), 1100)) for to in ("subscriptions", "history")]
    assert state_of(session) is State.DEGRADED
    effects = session.handle(notice(1102, s=20), at(20))
    assert only(Tell, effects) == [Tell(to, UpstreamUp(ns(20), 1102)) for to in ("subscriptions", "history")]
    assert state_of(session) is State.READY


def test_data_lost_is_told_as_such_with_or_without_a_warning_before() -> None:
    session = ready()
    for code in (1100, 2110):
        session.handle(notice(code), at(10))
        effects = session.handle(notice(1101, s=20), at(20))
        assert only(Tell, effects) == [Tell(to, DataLost(ns(20), 1101)) for to in ("subscriptions", "history")]
        assert state_of(session) is State.READY
    assert told(session.handle(notice(1101), at(30)), DataLost)


def test_data_that_come_while_ib_is_said_to_be_lost_show_that_it_is_not() -> None:
    session = ready()
    session.handle(notice(2110, s=10), at(10))
    assert session.handle(Heard(1), at(20)) == []
    effects = session.handle(Heard(1), at(26))
    assert {type(tell.message) for tell in only(Tell, effects)} == {UpstreamUp}
    assert said(effects) == ["upstream_restored"]
    assert state_of(session) is State.READY
    assert said(session.handle(notice(1102, s=30), at(30))) == ["upstream_restored"]


@pytest.mark.parametrize("code", [357, 502, 504, 506, 507, 1300])
def test_a_gateway_that_says_why_it_is_not_usable_does_not_wait_for_its_login(code: int) -> None:
    session = core(SessionConfig(login_after=1))
    session.handle(Start(), at(0))
    session.handle(connected(), at(1))
    session.handle(notice(code), at(1))
    assert state_of(session) is State.BACKING_OFF


def test_a_tws_that_had_lost_ib_before_it_was_ready_is_degraded_at_once() -> None:
    session = core()
    session.handle(Start(), at(0))
    session.handle(connected(), at(1))
    assert session.handle(notice(1100), at(1)) == []
    effects = session.handle(NextValidId(1, 5), at(2))
    assert state_of(session) is State.DEGRADED
    assert [type(tell.message) for tell in only(Tell, effects) if tell.to == "subscriptions"] == [
        SessionUp,
        UpstreamDown,
    ]


@pytest.mark.parametrize("code", [1300, 504, 507])
def test_codes_of_a_dead_connection_close_it_and_try_again(code: int) -> None:
    session = ready()
    effects = session.handle(notice(code, "new port 4003"), at(10))
    assert one(Disconnect, effects) == Disconnect(1)
    assert "new port 4003" in one(Announce, effects).record.message
    assert state_of(session) is State.BACKING_OFF


def test_too_many_messages_slow_pacing_down() -> None:
    assert told(ready().handle(notice(100), at(10)), RateExceeded) == [RateExceeded(100)]


# ---- farms


@pytest.mark.parametrize(
    ("code", "message", "state"),
    [
        (2103, "Market data farm connection is broken:usfarm", "down"),
        (2104, "Market data farm connection is OK:usfarm", "up"),
        (2105, "HMDS data farm connection is broken:ushmds", "down"),
        (2106, "HMDS data farm connection is OK:ushmds", "up"),
        (2107, "HMDS inactive but should be available on demand.:ushmds", "idle"),
        (2108, "Market data farm inactive:usfarm.nj", "idle"),
        (2119, "Market data farm is connecting:usfarm", "connecting"),
        (2157, "Sec-def data farm connection is broken:secdefnj", "down"),
        (2158, "Sec-def data farm connection is OK:secdefnj", "up"),
    ],
)
def test_a_farm_notice_is_announced_and_changes_nothing_else(code: int, message: str, state: str) -> None:
    session = ready()
    record = one(Announce, session.handle(notice(code, message), at(10))).record
    assert (record.topic, record.event, record.subject, record.code) == ("farm", state, message.split(":")[-1], code)
    assert state_of(session) is State.READY
    assert session.handle(notice(code, message), at(11)) == []


def test_a_farm_that_flaps_is_announced_each_time_and_the_connection_stays() -> None:
    session = ready()
    for turn in range(2):
        assert said(session.handle(notice(2103, "x:usfarm"), at(10 + turn))) == ["down"]
        assert said(session.handle(notice(2104, "y:usfarm"), at(10 + turn))) == ["up"]
    assert session.status(at(20))["farms"] == {"usfarm": "up"}
    assert state_of(session) is State.READY


def test_a_restless_farm_is_told_again_when_it_has_settled() -> None:
    session = ready(SessionConfig(heartbeat_interval_s=1000.0))
    heard = []
    for turn in range(50):
        heard += said(session.handle(notice(2103, "x:usfarm"), at(10 + turn / 10)))
        heard += said(session.handle(notice(2104, "y:usfarm"), at(10 + turn / 10)))
    assert heard == ["down", "up", "down", "up"]
    session.handle(notice(2103, "x:usfarm"), at(16))
    assert session.next_wakeup_s() == 21.0
    assert session.handle(WakeUp(), at(20)) == []
    (record,) = [announce.record for announce in only(Announce, session.handle(WakeUp(), at(21)))]
    assert (record.topic, record.event, record.subject) == ("farm", "down", "usfarm")
    assert session.next_wakeup_s() == 1016.0


# Farms of history serve scans, which are streams, as well.
SCANS_TOO = ["history", "subscriptions"]


def test_the_subscriptions_hear_of_market_data_farms_and_the_others_of_theirs() -> None:
    session = ready()
    changed = told(session.handle(notice(2103, "x:usfarm", s=10), at(10)), FarmChanged)
    assert changed == [FarmChanged("usfarm", "market", False, ns(10))]
    assert told(session.handle(notice(2108, "x:usfarm", s=11), at(11)), FarmChanged)[0].is_up
    for code, users in ((2105, SCANS_TOO), (2106, SCANS_TOO), (2157, ["contracts", "reference"])):
        tells = only(Tell, session.handle(notice(code, f"x:other{code // 50}"), at(12)))
        assert [tell.to for tell in tells] == users


def test_a_refusal_without_a_req_id_is_said_and_told_to_who_asks_without_one() -> None:
    effects = ready().handle(notice(321, "Invalid market rule id"), at(12))
    (tell,) = only(Tell, effects)
    assert (tell.to, type(tell.message)) == ("reference", ErrorNotice)
    assert said(effects) == ["notice"]


# ---- outages that are no accident

# 23:50 in New York on Wednesday, in IB's nightly reset.
NIGHT_S = 17_400.0


def test_in_ibs_reset_window_a_loss_is_scheduled_and_said_once_however_often_it_is_tried() -> None:
    session = ready(SessionConfig(scheduled_retry_s=15.0, backoff_max_s=5.0))
    effects = session.handle(ConnectionLost(1, ns(NIGHT_S), "closed"), at(NIGHT_S))
    assert state_of(session) is State.SCHEDULED_OUTAGE
    assert said(effects) == ["lost"]
    assert "IB's nightly reset, for 55 min yet" in one(Announce, effects).record.message
    tries, now_s = 0, NIGHT_S
    while now_s < NIGHT_S + 1800:
        now_s = session.next_wakeup_s() or 0.0
        connect = one(Connect, session.handle(WakeUp(), at(now_s)))
        assert said(session.handle(ConnectFailed(connect.conn, ns(now_s), "refused"), at(now_s))) == []
        tries += 1
    assert 1800 / 15 <= tries <= 1800 / 7.5 + 10
    up_again(session, session.next_wakeup_s() or 0.0)


def test_an_outage_that_outlasts_its_window_is_an_accident_again() -> None:
    session = ready()
    session.handle(ConnectionLost(1, ns(NIGHT_S), "closed"), at(NIGHT_S))
    over_s = NIGHT_S + 3600
    connect = one(Connect, session.handle(WakeUp(), at(over_s)))
    effects = session.handle(ConnectFailed(connect.conn, ns(over_s), "refused"), at(over_s))
    assert state_of(session) is State.BACKING_OFF
    assert said(effects) == ["unreachable"]


def test_a_gateway_that_takes_connections_and_is_never_ready_waits_for_its_login() -> None:
    session = core(SessionConfig(login_after=3, login_retry_s=15.0))
    heard = []
    now_s = 0.0
    effects = session.handle(Start(), at(0))
    for _ in range(20):
        connect = one(Connect, effects)
        heard += said(session.handle(ConnectFailed(connect.conn, ns(now_s), "no greeting", True), at(now_s)))
        was_s, now_s = now_s, session.next_wakeup_s() or 0.0
        effects = session.handle(WakeUp(), at(now_s))
    assert heard == ["unreachable", "unreachable", "waiting_for_login"]
    assert 7.5 <= now_s - was_s <= 15.0
    session.handle(connected(session._link.conn, now_s), at(now_s))
    assert said(session.handle(NextValidId(session._link.conn, 5), at(now_s))) == ["ready"]


def test_a_closed_port_or_a_client_id_in_use_is_no_login_window() -> None:
    session = core(SessionConfig(login_after=2))
    effects = session.handle(Start(), at(0))
    for n in range(10):
        connect = one(Connect, effects)
        if n % 2:
            session.handle(notice(326, conn=connect.conn), at(n * 100))
        else:
            session.handle(ConnectFailed(connect.conn, ns(n * 100), "refused"), at(n * 100))
        assert state_of(session) is State.BACKING_OFF
        effects = session.handle(WakeUp(), at((n + 1) * 100))


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("La conexi\u00f3n es correcta: eufarmnj ", "eufarmnj"),
        ("\u8fde\u63a5\u6b63\u5e38\uff1ahfarm", "hfarm"),
        ("Market data farm connection is inactive but should be available upon demand.usfarm.nj", "usfarm.nj"),
        ("HMDS data farm connection is inactive but should be available upon demand.euhmds", "euhmds"),
        ("\u9700\u8981\u65f6\u53ef\u7528\u3002cashfarm", "cashfarm"),
        ("no colon", "no colon"),
        ("", "unknown"),
        ("ends with:", "unknown"),
    ],
)
def test_the_farms_name_is_found_in_other_languages(message: str, name: str) -> None:
    assert farm_name(message) == name


def test_farms_that_ib_makes_up_are_bounded() -> None:
    session = ready()
    for number in range(1000):
        session.handle(notice(2104, f"x:farm{number}"), at(10))
    farms = session.status(at(11))["farms"]
    assert isinstance(farms, dict)
    assert len(farms) == 200


# ---- heartbeat


def test_silence_is_answered_by_a_heartbeat_and_more_silence_by_a_reconnect() -> None:
    session = ready(SessionConfig(heartbeat_interval_s=10.0, heartbeat_timeout_s=5.0, mute_s=5.0))
    assert session.next_wakeup_s() == 12.0
    assert session.handle(WakeUp(), at(11.9)) == []
    effects = session.handle(WakeUp(), at(12))
    assert told(effects, Enqueue) == [Enqueue(ReqCurrentTime(10), priority=0, conn=1)]
    assert session.next_wakeup_s() is None
    session.handle(RequestSent(10, 13.0), at(13))
    assert session.next_wakeup_s() == 18.0
    effects = session.handle(WakeUp(), at(18))
    assert one(Disconnect, effects) == Disconnect(1)
    assert "silent for 16.0 s" in told(effects, SessionDown)[0].reason


def test_a_gateway_that_does_not_tell_its_time_is_mute_at_a_second_look_and_that_is_told_once() -> None:
    session = ready()
    question = told(session.handle(WakeUp(), at(7)), Enqueue)[0].request
    session.handle(RequestSent(question.req_id, 7.0), at(7))
    assert session.next_wakeup_s() == 9.0
    # The process was held up: the answer may wait to be handled.
    assert session.handle(WakeUp(), at(9.25)) == []
    assert session.next_wakeup_s() == 9.75
    effects = session.handle(WakeUp(), at(9.75))
    assert told(effects, GatewayMute) == [GatewayMute()]
    assert one(Announce, effects).record.event == "mute"
    assert session.next_wakeup_s() == 32.0
    session.handle(Heard(1), at(20))
    assert session.next_wakeup_s() == 25.0


def test_an_answer_between_the_two_looks_is_one() -> None:
    session = ready()
    session.handle(WakeUp(), at(7))
    session.handle(RequestSent(10, 7.0), at(7))
    assert session.handle(WakeUp(), at(9)) == []
    session.handle(CurrentTime(1, ns(9.25), ns(9.25)), at(9.25))
    assert session.next_wakeup_s() == 14.25
    assert session.handle(WakeUp(), at(9.5)) == []


def test_a_gateway_that_streams_but_does_not_answer_is_not_dropped() -> None:
    session = ready(SessionConfig(heartbeat_interval_s=10.0, heartbeat_timeout_s=5.0))
    session.handle(WakeUp(), at(12))
    session.handle(RequestSent(10, 12.0), at(12))
    session.handle(Heard(1), at(16))
    assert session.next_wakeup_s() == 26.0
    assert session.handle(WakeUp(), at(17)) == []
    assert session.state is State.READY


def test_an_answered_heartbeat_starts_the_next_interval() -> None:
    session = ready(SessionConfig(heartbeat_interval_s=10.0))
    session.handle(WakeUp(), at(12))
    session.handle(RequestSent(10, 12.0), at(12))
    session.handle(CurrentTime(1, ns(12.5), ns(13.5)), at(12.5))
    assert session.next_wakeup_s() == 22.5
    assert session.status(at(12.5))["clock_offset_ms"] == 1000.0


def test_other_messages_count_as_signs_of_life() -> None:
    session = ready(SessionConfig(heartbeat_interval_s=10.0))
    session.handle(ManagedAccounts(1, 2), at(5))
    assert session.next_wakeup_s() == 15.0
    session.handle(notice(2104, "x:usfarm"), at(8))
    assert session.next_wakeup_s() == 18.0


def test_a_heartbeat_held_by_pacing_is_no_silence_and_a_refused_one_is_tried_later() -> None:
    session = ready(SessionConfig(heartbeat_interval_s=10.0))
    session.handle(WakeUp(), at(12))
    assert session.handle(WakeUp(), at(1000)) == []
    session.handle(RequestRefused(10, "full", 1.0), at(1000))
    assert session.next_wakeup_s() == 1010.0


# ---- another port (1300)

MOVED = "TWS socket port has been reset and this connection is being dropped. Please reconnect on the new port - 7498"


def ports(session: SessionCore, count: int) -> list[int | None]:
    """The ports of the next tries, all of which fail."""
    found = []
    for _ in range(count):
        due_s = session.next_wakeup_s()
        assert due_s is not None
        connect = one(Connect, session.handle(WakeUp(), at(due_s)))
        found.append(connect.port)
        session.handle(ConnectFailed(connect.conn, ns(due_s), "refused"), at(due_s))
    return found


def test_after_1300_it_tries_the_port_that_ib_names_and_the_one_that_is_set_in_turn() -> None:
    session = ready()
    assert one(Disconnect, session.handle(notice(1300, MOVED), at(10))) == Disconnect(1)
    assert ports(session, 4) == [7498, None, 7498, None]


def test_the_port_that_works_after_1300_is_kept() -> None:
    session = ready()
    session.handle(notice(1300, MOVED), at(10))
    up_again(session, 11)
    session.handle(ConnectionLost(2, ns(60), "reset"), at(60))
    assert ports(session, 2) == [7498, None]
    up_again(session, 100)
    session.handle(ConnectionLost(5, ns(160), "reset"), at(160))
    assert ports(session, 2) == [7498, None]


def test_when_the_set_port_works_after_1300_the_other_is_forgotten() -> None:
    session = ready()
    session.handle(notice(1300, MOVED), at(10))
    assert ports(session, 1) == [7498]
    up_again(session, 60)
    session.handle(ConnectionLost(3, ns(120), "reset"), at(120))
    assert ports(session, 2) == [None, None]


def test_1300_that_names_no_port_is_a_reconnect() -> None:
    session = ready()
    session.handle(notice(1300, "the port was reset"), at(10))
    assert ports(session, 2) == [None, None]


# ---- stop


def test_a_stop_closes_the_connection_and_is_done_when_that_is_confirmed() -> None:
    session = ready()
    effects = session.handle(Stop(), at(10))
    assert one(Disconnect, effects) == Disconnect(1)
    assert len(told(effects, SessionDown)) == 1 + len(ASKING)
    assert state_of(session) is State.STOPPING
    assert said(session.handle(ConnectionLost(1, ns(10), "closed", wanted=True), at(10))) == ["stopped"]
    assert state_of(session) is State.STOPPED


def test_a_stop_does_not_wait_for_ever() -> None:
    session = ready(SessionConfig(stop_timeout_s=5.0))
    session.handle(Stop(), at(10))
    assert session.next_wakeup_s() == 15.0
    session.handle(WakeUp(), at(15))
    assert state_of(session) is State.STOPPED


def test_a_stop_while_connecting_is_done_when_the_attempt_ends() -> None:
    session = core()
    session.handle(Start(), at(0))
    assert one(Disconnect, session.handle(Stop(), at(1))) == Disconnect(1)
    session.handle(ConnectFailed(1, ns(2), "closed"), at(2))
    assert state_of(session) is State.STOPPED


def test_a_stop_between_two_tries_is_done_at_once() -> None:
    session = core()
    session.handle(Start(), at(0))
    session.handle(ConnectFailed(1, ns(0), "refused"), at(0))
    session.handle(Stop(), at(0.1))
    assert state_of(session) is State.STOPPED
    assert session.next_wakeup_s() is None


# ---- what is told


def test_frames_that_cannot_be_read_are_said_once_and_counted() -> None:
    session = ready()
    lost = DecodeFailed(1, ns(3), 46, 2, "not a number")
    assert said(session.handle(lost, at(3))) == ["undecodable"]
    assert session.handle(lost, at(4)) == []
    assert session.status(at(5))["undecoded"] == {"46": 4}


def test_a_status_query_ends_here_with_all_parts() -> None:
    session = ready()
    query = StatusQuery(ref(op="status"), {"pacing": {"waiting": 0}})
    done = answer(session.handle(query, at(10)))
    assert done.with_counters
    assert done.reply.status == "result"
    assert isinstance(done.reply.result, dict)
    assert done.reply.result["pacing"] == {"waiting": 0}
    assert done.reply.result["session"]["state"] == "ready"
    assert done.reply.result["session"]["server_version"] == 200


def test_a_long_outage_is_told_more_and_more_rarely_and_a_new_cause_at_once() -> None:
    session = ready()
    words = said(session.handle(ConnectionLost(1, ns(10), "reset by peer"), at(10)))
    due_s = 10.0
    for number in range(2, 1001):
        due_s = session.next_wakeup_s() or 0.0
        words += said(session.handle(WakeUp(), at(due_s)))
        cause = "no route" if number == 700 else "refused"
        words += said(session.handle(ConnectFailed(number, ns(due_s), cause), at(due_s)))
    assert words.count("connecting") == 9
    assert words.count("unreachable") == 10
    up_again(session, session.next_wakeup_s() or 0.0)
    assert said(session.handle(ConnectionLost(1001, ns(due_s + 99), "reset"), at(due_s + 99))) == ["lost"]


def test_the_status_tells_the_newest_trouble_and_when_it_was() -> None:
    session = ready()
    assert (session.status(at(3))["last_error"], session.status(at(3))["last_error_ns"]) == (None, None)
    session.handle(ConnectionLost(1, ns(10), "reset by peer"), at(10))
    up_again(session, 11)
    status = session.status(at(20))
    assert status["last_error"] == "The connection to the gateway is lost: reset by peer."
    assert status["last_error_ns"] == str(ns(10))
    session.handle(notice(1100, conn=2), at(30))
    assert session.status(at(31))["last_error_ns"] == str(ns(30))
    assert "TWS has lost" in str(session.status(at(31))["last_error"])


def test_every_change_is_a_plain_sentence_in_system() -> None:
    session = core()
    effects: list[Effect] = []
    effects += session.handle(Start(), at(0))
    effects += session.handle(connected(), at(1))
    effects += session.handle(NextValidId(1, 5), at(2))
    effects += session.handle(notice(1100), at(3))
    effects += session.handle(notice(1102), at(4))
    effects += session.handle(notice(9999, "what IB says"), at(5))
    effects += session.handle(ConnectionLost(1, ns(6), "reset"), at(6))
    records = [announce.record for announce in only(Announce, effects)]
    assert [record.event for record in records] == [
        "connecting", "handshaken", "ready", "upstream_lost", "upstream_restored", "notice", "lost",
    ]  # fmt: skip
    for record in records:
        assert record.topic == "connection"
        assert record.message[0].isupper()
        assert record.conn == 1
    assert [record.at_ns for record in records] == [ns(s) for s in range(7)]


# ---- every state times every input


def in_state(state: State) -> SessionCore:
    session = core(SessionConfig(max_attempts=1 if state is State.FAILED else 0, login_after=1))
    steps: dict[State, list[Struct]] = {
        State.IDLE: [],
        State.CONNECTING: [Start()],
        State.HANDSHAKING: [Start(), connected()],
        State.READY: [Start(), connected(), NextValidId(1, 5)],
        State.DEGRADED: [Start(), connected(), NextValidId(1, 5), notice(1100)],
        State.BACKING_OFF: [Start(), ConnectFailed(1, ns(0), "refused")],
        State.FAILED: [Start(), ConnectFailed(1, ns(0), "refused")],
        State.WAITING_FOR_LOGIN: [Start(), ConnectFailed(1, ns(0), "no greeting", taken=True)],
        State.SCHEDULED_OUTAGE: [Start(), ConnectFailed(1, ns(NIGHT_S), "refused")],
        State.STOPPING: [Start(), connected(), Stop()],
        State.STOPPED: [Stop()],
    }
    for step in steps[state]:
        session.handle(step, at(NIGHT_S if state is State.SCHEDULED_OUTAGE else 0))
    assert session.state is state
    return session


EVERY_INPUT: list[Struct] = [
    Start(),
    Stop(),
    WakeUp(),
    connected(),
    ConnectFailed(1, ns(0), "refused"),
    ConnectFailed(1, ns(0), "no greeting", taken=True),
    ConnectionLost(1, ns(0), "reset"),
    ConnectionLost(1, ns(0), "closed", wanted=True),
    NextValidId(1, 5),
    ManagedAccounts(1, 1),
    CurrentTime(1, ns(0), ns(0)),
    DecodeFailed(1, ns(0), 1, 1, "x"),
    RequestSent(10, 0.0),
    RequestRefused(10, "full", 1.0),
    StatusQuery(ref(), {}),
    *[
        notice(code, "x:usfarm")
        for code in sorted(code for code, row in ROWS.items() if row.scope in ("connection", "farm"))
    ],
    notice(7, "what nobody knows"),
    notice(1300, MOVED),
]


@pytest.mark.parametrize("state", State)
def test_no_input_in_any_state_does_what_the_table_does_not_allow(state: State) -> None:
    for message in EVERY_INPUT:
        for s in (0.0, 1000.0, NIGHT_S, NIGHT_S + 1000.0):
            check_step(state, message, s)


def check_step(state: State, message: Struct, s: float) -> None:
    session = in_state(state)
    was_usable = session.state in UP
    effects = session.handle(message, at(s))
    steps = {target for (source, _), target in TABLE.items() if source is state}
    two_steps = {target for (source, _), target in TABLE.items() if source in steps}
    assert session.state in {state} | steps | two_steps
    if session.state is not state and session.state not in steps:
        assert (state, session.state) == (State.CONNECTING, State.READY)
    # Whoever was told that the session is up is told when it is not, and nobody else.
    is_usable = session.state in UP
    assert len(told(effects, SessionUp)) == (1 + len(ASKING) if is_usable and not was_usable else 0)
    assert len(told(effects, SessionDown)) == (1 + len(ASKING) if was_usable and not is_usable else 0)
    assert len(only(Stopped, effects)) == (session.state is State.STOPPED and state is not State.STOPPED)
    if only(Connect, effects):
        assert session.state is State.CONNECTING
    due_s = session.next_wakeup_s()
    assert due_s is None or due_s >= 0


def test_every_state_but_the_last_can_be_left_and_every_state_can_be_reached() -> None:
    assert {source for source, _ in TABLE} == set(State) - {State.STOPPED}
    assert set(TABLE.values()) == set(State) - {State.IDLE}
    assert {happened for _, happened in TABLE} == set(Input)
    assert OPEN >= UP
