"""What the demo shows: the newest record of each stream as a table, and plain lines where there is no terminal.

Holds records it was given; reads nothing and prints only when told.
"""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from ibkr_actor.client.tally import Tally
from ibkr_actor.schema.records import AnyRecord, Bar, BidAsk, Gap, MidPoint, Quote, Tick, Trade

# The four characters that put the cursor home and clear what is below: ECMA-48 CUP and ED.
HOME_AND_CLEAR = "\x1b[H\x1b[J"


class DemoView:
    """Rows by stream, in the order of their first record."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        # stream key -> (instrument, kind, newest record)
        self._rows: dict[str, tuple[str, str, AnyRecord]] = {}
        self.live = out.isatty()
        self.tally = Tally()
        # Stand above the table in a terminal, where what was printed before it is wiped away.
        self.notes: list[str] = []

    def add(self, key: str, record: AnyRecord) -> None:
        """Takes a record; on a pipe, every gap is a line at once."""
        instrument, kind = self._keep(key, record)
        if not self.live and isinstance(record, Gap):
            self._say(f"{instrument:<26} {kind:<10} {summary(record)}")

    def _keep(self, key: str, record: AnyRecord) -> tuple[str, str]:
        _, kind, instrument = key.rsplit(":", 2)
        self._rows[key] = (instrument, kind, record)
        self.tally.add(key, record)
        return instrument, kind

    def draw(self, left_s: float) -> None:
        """The newest record of each stream: the whole table again in a terminal, further lines on a pipe."""
        lines = self.lines()
        if self.live:
            title = HOME_AND_CLEAR + f"ibkr_actor demo: {left_s:.0f} s left, Ctrl-C ends it"
            head = [title, *self.notes, ""]
            # A line that wraps would push the head of the table out of a small window.
            columns = shutil.get_terminal_size().columns
            self._say("\n".join([*head, *(line[:columns] for line in lines), "", self.totals()]))
        else:
            self._say("\n".join([*lines, f"{self.totals()}, {left_s:.0f} s left"]))

    def lines(self) -> list[str]:
        """The table, empty before the first record."""
        lines = [f"{'instrument':<26} {'kind':<10} {'records':>8}  newest"] if self._rows else []
        for key, (instrument, kind, record) in sorted(self._rows.items(), key=lambda row: row[1][:2]):
            lines.append(f"{instrument:<26} {kind:<10} {self.tally.streams[key].records:>8}  {summary(record)}")
        return lines

    def newest(self, key: str) -> AnyRecord | None:
        """The newest record of a stream."""
        row = self._rows.get(key)
        return row[2] if row is not None else None

    @property
    def whole(self) -> bool:
        """Whether it showed what it was to show."""
        return True

    def totals(self) -> str:
        """`<records> records, <streams> streams, <lost> lost`, from epoch, seq and gap records alone."""
        return f"{self.tally.records} records, {len(self.tally.streams)} streams, {self.tally.lost} lost"

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def summary(record: AnyRecord) -> str:
    """The few values of a record that a person looks at first."""
    match record:
        case Quote():
            top = f"{_text(record.bid_size)} x {_text(record.bid)} | {_text(record.ask)} x {_text(record.ask_size)}"
            return top + (f"  last {_text(record.last)}" if record.last is not None else "")
        case Trade():
            return f"{_text(record.size)} @ {_text(record.price)} {record.exchange}"
        case BidAsk():
            return f"{_text(record.bid_size)} x {_text(record.bid)} | {_text(record.ask)} x {_text(record.ask_size)}"
        case MidPoint():
            return _text(record.price)
        case Bar():
            prices = " ".join(_text(price) for price in (record.open, record.high, record.low, record.close))
            return f"{prices}  volume {_text(record.volume)}"
        case Tick():
            return f"tick type {record.tick_type}: {_text(record.value)}"
        case Gap():
            return f"gap ({record.cause})"
    return type(record).__name__.lower()


def _text(value: float | str | None) -> str:
    return "-" if value is None else f"{value:.10g}" if isinstance(value, float) else value
