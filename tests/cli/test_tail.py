"""What `tail` says of entries, and of those that were trimmed before it came to them."""

from __future__ import annotations

import json

from msgspec import structs

from ibkr_actor.cli.record_text import text_line
from ibkr_actor.cli.sub import line
from ibkr_actor.cli.tail import _taken
from ibkr_actor.client import Checkpoint, Item, Missed, Raw
from ibkr_actor.client.tally import StreamTally
from ibkr_actor.schema.codec import encode_record
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import FLAG_LATE, FLAG_REFILLED, System
from tests.client.kit import midpoint

KEYS = Keys("ibkr", "g1")
KEY = KEYS.stream("midpoint", "AAPL.STK.SMART.USD")


def raw(seq: int) -> Raw:
    return Raw(KEY, f"7-{seq}", {b"d": encode_record(midpoint(seq))})


def test_what_was_trimmed_before_it_was_read_comes_before_the_next_entry() -> None:
    tally = StreamTally()
    tally.begin_at(Checkpoint("7-3", 7, 3))
    (entry,) = _taken(KEYS, raw(4), tally)
    assert not isinstance(entry, Missed)
    missed, entry = _taken(KEYS, raw(9), tally)
    assert isinstance(missed, Missed)
    assert (missed.lost, missed.first_seq, missed.last_seq, missed.exact) == (4, 5, 8, True)
    told = json.loads(line(Item(missed.stream, missed.to_id, missed), as_json=True, many=False))
    assert (told["stream"], told["id"], told["tag"]) == ("midpoint:AAPL.STK.SMART.USD", "7-9", "missed")
    assert not isinstance(entry, Missed)
    assert entry.id == "7-9"


def test_what_is_no_record_is_an_entry_all_the_same() -> None:
    tally = StreamTally()
    tally.begin_at(Checkpoint("7-3", 7, 3))
    for fields in ({b"x": b"y"}, {b"j": b'{"tag":"of_tomorrow","epoch":7,"seq":4}'}):
        (entry,) = _taken(KEYS, Raw(KEY, "7-4", fields), tally)
        assert not isinstance(entry, Missed)
        assert (entry.id, entry.record) == ("7-4", None)
    assert len(_taken(KEYS, raw(5), tally)) == 1


def test_a_line_says_what_sets_a_record_apart_from_live_data() -> None:
    plain = midpoint(4)
    assert text_line("7-4", plain).endswith(f"price={plain.price}")
    marked = structs.replace(plain, feed=3, flags=FLAG_REFILLED | FLAG_LATE)
    assert text_line("7-4", marked) == text_line("7-4", plain) + " feed=delayed flags=refilled,late"
    assert "feed" not in text_line("7-5", System(7, 5, 0, "farm", "up", "usfarm", "It is up."))
