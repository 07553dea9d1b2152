"""The demo's table and lines."""

import io

import pytest

from ibkr_actor.cli.demo_night import NightView
from ibkr_actor.cli.demo_view import HOME_AND_CLEAR, DemoView
from ibkr_actor.schema.records import Bar, Gap, Quote, Reset, System

QUOTE_KEY = "ibkr:{g1}:quote:AAPL.STK.SMART.USD"
BAR_KEY = "ibkr:{g1}:bar.5s:EUR.CASH.IDEALPRO.USD"


def quote(seq: int, bid: float | None) -> Quote:
    return Quote(9, seq, 1, 1_000, None, 1, 0, bid, 190.02, None, "100", None, None, None, 1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_terminal_the_addresses_stand_above_the_table_on_every_draw() -> None:
    out = Terminal()
    view = DemoView(out)
    view.notes = ["status page: http://x", "export IBKR_REDIS_URL=redis://x"]
    view.draw(15.0)
    view.draw(14.0)
    assert out.getvalue().count("\n".join(view.notes)) == 2


def test_on_a_pipe_each_gap_is_a_line_at_once_and_each_draw_adds_lines() -> None:
    out = io.StringIO()
    view = DemoView(out)
    view.draw(15.0)
    view.add(QUOTE_KEY, quote(1, None))
    view.add(QUOTE_KEY, Gap(9, 2, 1, 1_000, None, 1, 0, "disconnect", 1, 2))
    view.add(QUOTE_KEY, quote(3, 190.0))
    view.draw(12.0)
    assert [" ".join(line.split()) for line in out.getvalue().splitlines()] == [
        "0 records, 0 streams, 0 lost, 15 s left",
        "AAPL.STK.SMART.USD quote gap (disconnect)",
        "instrument kind records newest",
        "AAPL.STK.SMART.USD quote 3 100 x 190 | 190.02 x -",
        "3 records, 1 streams, 0 lost, 12 s left",
    ]


def test_in_a_terminal_the_table_is_drawn_anew_with_the_newest_record_of_each_stream() -> None:
    out = Terminal()
    view = DemoView(out)
    view.add(QUOTE_KEY, quote(1, 190.0))
    view.add(QUOTE_KEY, quote(2, 190.01))
    view.add(BAR_KEY, Bar(9, 1, 2, 5, None, 1, 0, 0, 5, 1.1, 1.2, 1.0, 1.15, None, None, None, True, 0, "MIDPOINT"))
    assert out.getvalue() == ""
    view.draw(3.0)
    drawn = out.getvalue()
    assert drawn.startswith(HOME_AND_CLEAR)
    assert "100 x 190.01 | 190.02 x -" in drawn
    assert "190 |" not in drawn
    assert "1.1 1.2 1 1.15  volume -" in drawn
    assert drawn.rstrip().endswith("3 records, 2 streams, 0 lost")


def test_lost_counts_what_seq_and_gaps_prove() -> None:
    view = DemoView(io.StringIO())
    view.add(QUOTE_KEY, Reset(9, 1, 1, 1, None, 1, 0, "start", None, None, None))
    view.add(QUOTE_KEY, quote(5, 190.0))
    assert view.totals() == "2 records, 1 streams, 3 lost"


def test_no_row_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    view = DemoView(out)
    view.add(QUOTE_KEY, quote(1, 190.123456789))
    view.draw(3.0)
    assert max(len(line.removeprefix(HOME_AND_CLEAR)) for line in out.getvalue().splitlines()) == 60


def test_the_night_shows_states_and_gaps_and_is_whole_only_when_data_stand_behind_each_gap() -> None:
    out = io.StringIO()
    view = NightView(out)
    view.expect([QUOTE_KEY])
    view.add(QUOTE_KEY, quote(1, 190.0))
    view.add(
        "ibkr:{g1}:system", System(9, 2, 1_000_000_000, "connection", "lost", "backing_off", "The gateway is gone.")
    )
    view.show(QUOTE_KEY, "starved", "stale")
    view.draw(10.0)
    view.add(QUOTE_KEY, Gap(9, 2, 1, 40_000_000_000, None, 1, 0, "disconnect", 0, 40_000_000_000))
    view.show(QUOTE_KEY, "live", "fresh")
    whole = [view.whole]
    view.add(QUOTE_KEY, quote(3, 190.01))
    assert [*whole, view.whole] == [False, True]
    assert [" ".join(line.split()) for line in out.getvalue().splitlines()] == [
        "00:00:01 connection lost The gateway is gone.",
        "stream state freshness records gaps missing newest",
        "quote:AAPL.STK.SMART.USD starved stale 1 0 - 100 x 190 | 190.02 x -",
        "1 records, 1 streams, 0 lost, 0 gaps announced, 0 of 1 streams alive again, 10 s left",
        "00:00:40 stream back quote:AAPL.STK.SMART.USD: 40.0 s missing (disconnect)",
    ]
    assert view.totals() == "3 records, 1 streams, 0 lost, 1 gaps announced, 1 of 1 streams alive again"
