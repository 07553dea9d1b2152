"""What is remembered of streams that expired."""

from __future__ import annotations

from ibkr_actor.bus.expired import Expired, ExpiredStreams
from ibkr_actor.schema.keys import Stream


def test_the_stream_that_expired_longest_ago_is_forgotten_when_there_are_too_many() -> None:
    expired = ExpiredStreams(most=2)
    streams = [Stream("trade", f"{symbol}.STK.SMART.USD") for symbol in ("A", "B", "C")]
    for seq, stream in enumerate(streams, 2):
        expired.add(stream, Expired(seq, "1-0"))
    assert len(expired) == 2
    assert [expired.take(stream) for stream in streams] == [None, Expired(3, "1-0"), Expired(4, "1-0")]
    assert len(expired) == 0


def test_ticks_of_a_symbol_are_counted_until_its_streams_come_back() -> None:
    expired = ExpiredStreams()
    quote, bar = Stream("quote", "A.STK.SMART.USD"), Stream("bar.5s", "A.STK.SMART.USD")
    expired.add(quote, Expired(5, "1-0"))
    expired.add(bar, Expired(9, "1-0"))
    assert expired.ticks("A") == 4
    expired.take(quote)
    assert expired.ticks("A") == 0
