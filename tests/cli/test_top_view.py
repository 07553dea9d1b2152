"""The frames of `ibkr-actor top`, as text of a literal overview at a literal time."""

from __future__ import annotations

import io
from typing import Any

import pytest
from msgspec import structs
from rich.console import Console

from ibkr_actor.cli.overview import NS, Beat, Overview, Row, as_json, row_of
from ibkr_actor.cli.status import summary
from ibkr_actor.cli.top_view import Look, frame, span
from ibkr_actor.schema.codec import encode_record
from ibkr_actor.schema.records import Bar, Quote, System

# 2026-11-22 14:30:10 UTC.
NOW_NS = 1_795_357_810 * NS
AAPL = "AAPL.STK.SMART.USD"


def quote(seq: int, received_ns: int, bid: float, *, feed: int = 1, epoch: int = 9) -> Quote:
    return Quote(epoch, seq, 265598, received_ns, None, feed, 0, bid, bid + 0.01, bid, "200", "300", "10", "7000", 1)


def bar(received_ns: int) -> Bar:
    return Bar(9, 4, 1, received_ns, None, 1, 0, 0, 5, 1.1, 1.2, 1.0, 1.15, None, None, None, True, 0, "MIDPOINT")


STATUS: dict[str, Any] = {
    "session": {
        "state": "ready",
        "since_ns": str(NOW_NS - 3_725 * NS),
        "client_id": 17,
        "server_version": 226,
        "clock_offset_ms": None,
        "farms": {"usfarm": "up", "ushmds": "down", "cashfarm": "idle"},
        "last_error": None,
    },
    "subscriptions": {
        "lines": {"taken": 90, "of": 100},
        "tick_by_tick": {"taken": 5, "of": 5},
        "depth": {"taken": 0, "of": 3},
    },
    "pacing": {
        "waiting": 4,
        "drained_in_s": 12.25,
        "paused_s": 0.0,
        "cooldowns": [],
        "pacing_violations": 1,
        "windows": {"messages": {"used": 10, "count": 50, "window_s": 1.0, "frees_in_s": 0.0}},
    },
    "counters": {
        "redis": {
            "redis_state": "up",
            "redis_waiting": 3,
            "redis_used_bytes": 3 * 2**20,
            "redis_published": 4321,
            "redis_lost_overflow": 7,
            "redis_lost_conflated": 0,
            "redis_lost_restart": 0,
        }
    },
}
ROWS = (
    Row(
        instrument=AAPL,
        kind="quote",
        state="live",
        freshness="fresh",
        received_ns=NOW_NS - 200_000_000,
        feed=3,
        holders=("strat-1", "b"),
        newest=quote(50, NOW_NS - 200_000_000, 190.25, feed=3),
        rate_s=12.25,
    ),
    Row(
        instrument="EUR.CASH.IDEALPRO.USD",
        kind="bar.5s",
        state="starved",
        reason="disconnect",
        since_ns=NOW_NS - 80 * NS,
        freshness="stale",
        received_ns=NOW_NS - 83 * NS,
        holders=("strat-1",),
        newest=bar(NOW_NS - 83 * NS),
        rate_s=0.0,
    ),
    Row(instrument="MSFT.STK.SMART.USD", kind="trade", state="pending"),
)
OVERVIEW = Overview(
    root="ibkr:{g1}",
    redis_at_ns=NOW_NS,
    ping_ms=0.4,
    beat=Beat("g1", 9, 4242, "ready", "0.1.0"),
    status=STATUS,
    status_at_ns=NOW_NS - NS,
    rows=ROWS,
    events=(
        System(9, 2, NOW_NS - 60 * NS, "connection", "ready", "ready", "The gateway is ready for client 17.", None, 1),
        System(9, 3, NOW_NS - 50 * NS, "farm", "down", "ushmds", "Data farm ushmds: broken.", 2105, 1),
    ),
)


def drawn(overview: Overview, width: int = 100, height: int | None = None, look: Look | None = None) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height or 50, color_system=None)
    console.print(frame(overview, NOW_NS, width=width, height=height, look=look))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_whole_page_of_a_sidecar_with_troubles() -> None:
    assert drawn(OVERVIEW, 104) == [
        "ibkr-actor ibkr:{g1}  ready for 1h02m  client 17  server 226  v0.1.0  pid 4242  epoch 9",
        "budget  lines ██████ 90/100  tick-by-tick ██████ 5/5  depth ░░░░░░ 0/3",
        "pacing  messages/s ██░░░░ 10/50",
        "queue   4 waiting, drained in 12.2 s  1 violation",
        "farms   ushmds down  2 up  cashfarm usfarm",
        "redis   up  ping 0.4 ms  3 waiting  3.0 MiB  4321 published",
        "gaps    1 stream cut off  7 records lost: 7 overflow",
        "3 streams, by name " + "─" * 85,
        "instrument             kind    state                  age  rec/s  newest                      holders",
        "AAPL.STK.SMART.USD     quote   fresh delayed         0.2s   12.2  200 x 190.25 | 190.26 x 3…  strat-1, b",
        "EUR.CASH.IDEALPRO.USD  bar.5s  starved: disconnect  1m23s    0.0  1.1 1.2 1 1.15  volume -    strat-1",
        "MSFT.STK.SMART.USD     trade   pending                  -      -  -                           -",
        "events " + "─" * 97,
        "14:29:10  connection ready  The gateway is ready for client 17.",
        "14:29:20  farm down (2105)  Data farm ushmds: broken.",
    ]


@pytest.mark.parametrize(
    ("state", "farms", "said"),
    [
        ("ready", {"usfarm": "up", "cashfarm": "idle"}, "all up"),
        ("degraded", {"usfarm": "up", "ushmds": "down"}, "not up: ushmds"),
        ("backing_off", {"usfarm": "up"}, "unknown"),
        ("backing_off", {}, "unknown"),
    ],
)
def test_a_status_says_of_farms_what_a_connection_told(state: str, farms: dict[str, str], said: str) -> None:
    lines = summary({"session": {"state": state, "farms": farms}})
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("farms")] == [said]


def test_a_narrow_terminal_drops_columns_and_cuts_the_newest_values_only() -> None:
    lines = drawn(OVERVIEW, 44)
    assert all(len(line) <= 44 for line in lines)
    assert [line for line in lines if line.startswith(("AAPL", "EUR", "MSFT"))] == [
        "AAPL  quote   fresh delayed         0.2s  20",
        "EUR   bar.5s  starved: disconnect  1m23s  1.",
        "MSFT  trade   pending                  -  -",
    ]


def test_a_low_terminal_shows_as_many_streams_as_fit_and_says_which() -> None:
    lines = drawn(OVERVIEW, 100, 15, Look(first=1, keys=True))
    assert len(lines) <= 15
    assert "3 streams, by name, 2 to 3 " in "\n".join(lines)
    assert not any(line.startswith("AAPL") for line in lines)
    assert lines[-1] == "q quit  s sort  f only trouble  up/down scroll"


def test_without_a_sidecar_no_state_and_no_budget_is_believed_and_ages_grow() -> None:
    lines = drawn(structs.replace(OVERVIEW, beat=None))
    assert lines[:2] == [
        "ibkr-actor ibkr:{g1}  no sidecar",
        "Nobody publishes: there is no heartbeat. What follows is what the last sidecar left.",
    ]
    text = "\n".join(lines)
    assert "90/100" not in text
    assert "fresh" not in text
    assert [line.split()[:4] for line in lines if line.startswith(("AAPL", "EUR"))] == [
        ["AAPL.STK.SMART.USD", "quote", "unknown", "0.2s"],
        ["EUR.CASH.IDEALPRO.USD", "bar.5s", "unknown", "1m23s"],
    ]


def test_without_redis_the_page_says_since_when() -> None:
    away = structs.replace(OVERVIEW, redis_error="refused", redis_at_ns=NOW_NS - 65 * NS)
    lines = drawn(away)
    assert lines[:2] == [
        "ibkr-actor ibkr:{g1}  no Redis",
        "Redis does not answer: refused. What follows is 1m05s old.",
    ]
    assert "unknown" in "\n".join(lines)
    assert drawn(Overview(root="ibkr:{g1}", redis_error="refused"))[1] == "Redis does not answer: refused"


def test_a_gateway_that_is_away_and_a_silent_sidecar_are_named() -> None:
    status = STATUS | {"session": STATUS["session"] | {"last_error": "502: no connection"}}
    backing_off = structs.replace(OVERVIEW, beat=Beat("g1", 9, 1, "backing_off", "0.1.0"), status=status)
    assert drawn(backing_off)[:2] == [
        "ibkr-actor ibkr:{g1}  backing off, no data for 1m20s  client 17  server 226",
        "The gateway is not usable: 502: no connection",
    ]
    silent = structs.replace(
        OVERVIEW, answer_error="the sidecar does not answer commands", status_at_ns=NOW_NS - 90 * NS
    )
    lines = drawn(silent)
    assert lines[1] == "The sidecar does not answer commands; who holds what may be old"
    assert "these budgets are 1m30s old" in lines


@pytest.mark.parametrize(
    ("look", "order"),
    [
        (Look(), ["AAPL", "EUR", "MSFT"]),
        (Look(sort="rate"), ["AAPL", "EUR", "MSFT"]),
        (Look(sort="age"), ["MSFT", "EUR", "AAPL"]),
        (Look(sort="state"), ["MSFT", "EUR", "AAPL"]),
        (Look(trouble_only=True), ["EUR", "MSFT"]),
    ],
)
def test_streams_are_sorted_and_filtered(look: Look, order: list[str]) -> None:
    lines = drawn(OVERVIEW, look=look)
    assert [line.split(".")[0] for line in lines if line[:4] in ("AAPL", "EUR.", "MSFT")] == order


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (-5, "0.0s"),
        (9_990_000_000, "9.9s"),
        (10 * NS, "10s"),
        (59_999_999_999, "59s"),
        (60 * NS, "1m00s"),
        (3_600 * NS, "1h00m"),
        (86_400 * NS * 5 + 3_600 * NS * 3, "5d03h"),
    ],
)
def test_a_span_has_two_units_at_most(ns: int, text: str) -> None:
    assert span(ns) == text


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_a_rate_is_what_seq_counted_between_two_looks_of_one_epoch(encoding: Any) -> None:
    def row(record: Quote, before: Row | None) -> Row:
        return row_of(AAPL, "quote", [encode_record(record, encoding), b"live", b"fresh"], {}, before)

    first = row(quote(10, NOW_NS, 1.0), None)
    assert first.rate_s is None
    second = row(quote(30, NOW_NS + 4 * NS, 1.0), first)
    assert second.rate_s == 5.0
    assert row(quote(30, NOW_NS + 4 * NS, 1.0), second).rate_s == 0.0
    assert row(quote(31, NOW_NS + 9 * NS, 1.0, epoch=10), second).rate_s is None


def test_a_last_value_that_is_no_record_is_none() -> None:
    row = row_of(AAPL, "quote", [b"\xff nonsense", None, None], {"state": "live", "since_ns": "5"}, None)
    assert (row.newest, row.state, row.since_ns, row.received_ns) == (None, "live", 5, None)


def test_the_machine_form_has_everything_with_nanoseconds_as_text() -> None:
    value = as_json(OVERVIEW)
    assert value["health"] == "ready"
    assert value["redis_at_ns"] == str(NOW_NS)
    assert value["rows"][0]["newest"]["bid"] == 190.25
    assert value["rows"][1]["received_ns"] == str(NOW_NS - 83 * NS)
    assert value["events"][1]["code"] == 2105
    assert value["status"]["subscriptions"]["lines"] == {"taken": 90, "of": 100}
