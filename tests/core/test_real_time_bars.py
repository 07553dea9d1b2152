"""Bars of 5 s that IB tells twice: the same is dropped and counted, another one is a revision, and no gap is lost."""

from __future__ import annotations

from ibkr_actor.core.events import RealTimeBar
from ibkr_actor.schema.records import Bar, DataRecord, Gap
from tests.core.desk import Desk
from tests.core.kit import ns, published

Row = tuple[float, float | None, str | None, bool, int]


def five(desk: Desk, start_s: float, close: float = 1.5, volume: str = "2") -> RealTimeBar:
    return RealTimeBar(desk.last_req_id, ns(start_s + 5), ns(start_s), 1.0, close, 1.0, close, volume, "1.25", 1)


def rows(records: list[DataRecord]) -> list[Row]:
    """Start in seconds, close, volume, final, revision."""
    found = [record for record in records if isinstance(record, Bar)]
    return [((bar.start_ns - ns(0)) / 1e9, bar.close, bar.volume, bar.final, bar.revision) for bar in found]


def tell(desk: Desk, *bars: RealTimeBar, s: float, kind: str = "bar.5s") -> list[DataRecord]:
    return [record for stream, record in published(desk.data(*bars, s=s)) if stream.kind == kind]


def test_a_bar_that_says_what_was_told_is_dropped_and_counted() -> None:
    desk = Desk()
    desk.subscribe("bar.5s", "bar.10s.built")
    first = five(desk, 0)
    desk.data(first, s=5)
    assert published(desk.data(first, first, s=6)) == []
    assert desk.core.status()["repeated_bars"] == 2
    assert rows(tell(desk, five(desk, 5), s=10, kind="bar.10s.built")) == [(0, 1.5, "4", True, 1)]
    desk.unsubscribe(s=11)
    assert desk.core.status()["repeated_bars"] == 2


def test_a_bar_that_ib_corrects_comes_as_its_next_revision() -> None:
    desk = Desk()
    desk.subscribe("bar.5s")
    tell(desk, five(desk, 0), five(desk, 5), s=10)
    assert rows(tell(desk, five(desk, 0, close=1.75), s=11)) == [(0, 1.75, "2", True, 1)]
    assert rows(tell(desk, five(desk, 0, close=1.75), five(desk, 0, close=1.5), s=12)) == [(0, 1.5, "2", True, 2)]
    assert rows(tell(desk, five(desk, 10), s=15)) == [(10, 1.5, "2", True, 0)]


def test_after_a_reconnect_within_a_bar_it_is_not_told_twice_and_the_gap_stands_before_the_next() -> None:
    desk = Desk()
    desk.subscribe("bar.5s")
    tell(desk, five(desk, 0), s=5)
    desk.down(6)
    desk.up(7)
    assert tell(desk, five(desk, 0), s=8) == []
    assert [type(record) for record in tell(desk, five(desk, 5), s=10)] == [Gap, Bar]


def test_a_bar_that_is_corrected_after_a_reconnect_does_not_close_the_gap() -> None:
    desk = Desk()
    desk.subscribe("bar.5s")
    tell(desk, five(desk, 0), s=5)
    desk.down(6)
    desk.up(7)
    records = tell(desk, five(desk, 0, close=1.75), five(desk, 20), s=25)
    assert [type(record) for record in records] == [Bar, Gap, Bar]
    assert rows(records) == [(0, 1.75, "2", True, 1), (20, 1.5, "2", True, 0)]


def test_a_built_bar_takes_a_correction_in_before_and_behind_its_end() -> None:
    desk = Desk()
    desk.subscribe("bar.15s.built")
    kind = "bar.15s.built"
    tell(desk, five(desk, 0), five(desk, 5, close=3.0), s=10)
    assert rows(tell(desk, five(desk, 5, close=2.0, volume="7"), s=11, kind=kind)) == [(0, 2.0, "9", False, 2)]
    assert rows(tell(desk, five(desk, 10), s=15, kind=kind)) == [(0, 1.5, "11", True, 3)]
    assert rows(tell(desk, five(desk, 10, close=1.25), s=16, kind=kind)) == [(0, 1.25, "11", True, 4)]
    # One that belongs to a bar before is told of its own stream only.
    tell(desk, five(desk, 15), s=20)
    assert rows(tell(desk, five(desk, 10, close=9.0), s=21, kind=kind)) == []
