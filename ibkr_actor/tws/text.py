"""Hot text frames straight to events: one function per message kind, over the fields of a frame split at NUL.

Field 0 is the message id, whatever stands there. Each function first takes the common form at full speed and only
then looks closer. Layouts depend on the server version; `handlers` picks them once per connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ibkr_actor.core.events import (
    DepthUpdate,
    HistoricalBarUpdate,
    MarketDataEvent,
    RealTimeBar,
    TickByTickBidAsk,
    TickByTickLast,
    TickByTickMidPoint,
    TickGeneric,
    TickOptionComputation,
    TickPrice,
    TickSize,
    TickString,
)
from ibkr_actor.tws.broken import BadFrame, CorruptStream
from ibkr_actor.tws.numbers import PLAIN_MAX, PLAIN_MIN, UNSET_INTEGER, SizesOfBytes, price_or_none
from ibkr_actor.tws.swallowed import IN_TEXT
from ibkr_actor.tws.whole_text import whole_text

Handler = Callable[[list[bytes], int], MarketDataEvent]

SECOND_NS: Final = 1_000_000_000
# Server versions at which layouts change. Source: ibapi.server_versions.
PAST_LIMIT: Final = 109
PRE_OPEN_BID_ASK: Final = 132
SMART_DEPTH: Final = 146
ENCODE_MSG_ASCII7: Final = 153
PRICE_BASED_VOLATILITY: Final = 156
# Model computations had option price and dividend before all others did. Source: ibapi.decoder.
MODEL_TICKS: Final = frozenset({13, 83})

# What stands for a price that there is none of. Source: github.com/erdewit/ib_insync/issues/239, bars of LME metals.
NO_PRICE: Final = frozenset({b"", b"?"})

# A backslash and what follows it, taken in pairs; and what may follow one. Python reads any other pair as it stands,
# but warns, and a warning may be an error.
STRAY_ESCAPE: Final = re.compile(rb"\\(.?)", re.DOTALL)
_ESCAPES: Final = frozenset(b"abfnrtv\\'\"01234567xuUN\n")

SIZES: Final = SizesOfBytes()


def _doubled(pair: re.Match[bytes]) -> bytes:
    after = pair[1]
    return pair[0] if not after or after[0] in _ESCAPES else b"\\" + pair[0]


class Fields:
    """The fields of one frame read one by one, tolerating what the common form does not have.

    The last piece of a split frame is what follows its last NUL: nothing, or half a field that is not to be used.
    """

    def __init__(self, raw: list[bytes]) -> None:
        if IN_TEXT.search(b"\0".join(raw)):
            raise CorruptStream("a frame holds the beginning of another")
        self._left = iter(raw[1:-1])

    def skip(self) -> None:
        next(self._left, None)

    def raw(self) -> bytes:
        value = next(self._left, None)
        if value is None:
            raise BadFrame("the frame ends too early")
        return value

    def number(self) -> int:
        """A whole number that must be there: an id, a kind, a time."""
        return int(self.raw())

    def count(self) -> int | None:
        raw = self.raw()
        value = int(raw) if raw else UNSET_INTEGER
        return None if value == UNSET_INTEGER else value

    def mask(self) -> int:
        """A bit mask; IB leaves it empty when no bit is set."""
        value = self.count()
        return 0 if value is None else value

    def price(self) -> float | None:
        raw = self.raw()
        return None if raw in NO_PRICE else price_or_none(float(raw))

    def size(self) -> str | None:
        return SIZES[self.raw()]

    def text(self) -> str:
        return self.raw().decode("utf-8", "backslashreplace")


def tick_price(mask_bits: int) -> Handler:
    """Message 1. `mask_bits` are the attribute bits the server version defines."""

    def decode(fields: list[bytes], ns: int) -> MarketDataEvent:
        try:
            _, _, req_id, tick_type, price_raw, size, mask, _ = fields
            price = float(price_raw)
            if PLAIN_MIN < price < PLAIN_MAX:
                return TickPrice(int(req_id), ns, int(tick_type), price, SIZES[size], int(mask) & mask_bits)
        except ValueError:
            pass
        return slow(Fields(fields), ns)

    def slow(fields: Fields, ns: int) -> MarketDataEvent:
        fields.skip()
        return TickPrice(fields.number(), ns, fields.number(), fields.price(), fields.size(), fields.mask() & mask_bits)

    return decode


def tick_size(fields: list[bytes], ns: int) -> MarketDataEvent:
    """Message 2."""
    try:
        _, _, req_id, tick_type, size, _ = fields
        return TickSize(int(req_id), ns, int(tick_type), SIZES[size])
    except ValueError:
        left = Fields(fields)
        left.skip()
        return TickSize(left.number(), ns, left.number(), left.size())


def tick_generic(fields: list[bytes], ns: int) -> MarketDataEvent:
    """Message 45."""
    try:
        _, _, req_id, tick_type, value_raw, _ = fields
        value = float(value_raw)
        if PLAIN_MIN < value < PLAIN_MAX:
            return TickGeneric(int(req_id), ns, int(tick_type), value)
    except ValueError:
        pass
    left = Fields(fields)
    left.skip()
    return TickGeneric(left.number(), ns, left.number(), left.price())


def tick_string(escaped: bool) -> Handler:
    """Message 46. `escaped`: the server writes what is not ASCII as Python does in source."""

    def decode(fields: list[bytes], ns: int) -> MarketDataEvent:
        try:
            _, _, req_id, tick_type, value, _ = fields
            if b"\\" not in value:
                return TickString(int(req_id), ns, int(tick_type), value.decode("ascii"))
        except ValueError:
            pass
        left = Fields(fields)
        left.skip()
        return TickString(left.number(), ns, left.number(), unescaped(left.raw()))

    def unescaped(raw: bytes) -> str:
        try:
            return whole_text(STRAY_ESCAPE.sub(_doubled, raw).decode("unicode-escape")) if escaped else raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    return decode


def option_computation(fields: list[bytes], ns: int) -> MarketDataEvent:
    """Message 21 from server version 156 on."""
    left = Fields(fields)
    return TickOptionComputation(
        left.number(),
        ns,
        left.number(),
        left.count(),
        computed_volatility(left.price()),
        computed(left.price(), -2.0),
        computed(left.price(), -1.0),
        computed(left.price(), -1.0),
        computed(left.price(), -2.0),
        computed(left.price(), -2.0),
        computed(left.price(), -2.0),
        computed(left.price(), -1.0),
    )


def option_computation_old(fields: list[bytes], ns: int) -> MarketDataEvent:
    """Message 21 before server version 156: it begins with a version of its own and has no tick_attrib."""
    left = Fields(fields)
    version, req_id, tick_type = left.number(), left.number(), left.number()
    volatility, delta = computed_volatility(left.price()), computed(left.price(), -2.0)
    price = dividend = gamma = vega = theta = underlying = None
    if version >= 6 or tick_type in MODEL_TICKS:
        price, dividend = computed(left.price(), -1.0), computed(left.price(), -1.0)
    if version >= 6:
        gamma, vega, theta = (computed(left.price(), -2.0) for _ in range(3))
        underlying = computed(left.price(), -1.0)
    return TickOptionComputation(
        req_id, ns, tick_type, None, volatility, delta, price, dividend, gamma, vega, theta, underlying
    )


def computed(value: float | None, absent: float) -> float | None:
    """None for the value by which IB says "not computed": -2 for greeks, -1 for prices."""
    return None if value == absent else value


def computed_volatility(value: float | None) -> float | None:
    """None for a negative volatility, which is "not computed"."""
    return None if value is None or value < 0 else value


def tick_by_tick(fields: list[bytes], ns: int) -> MarketDataEvent:
    """Message 99: 1 Last, 2 AllLast, 3 BidAsk, 4 MidPoint."""
    kind = fields[2] if len(fields) > 3 else b""
    if kind == b"3":
        return _bid_ask(fields, ns)
    if kind == b"1" or kind == b"2":
        return _last(fields, ns)
    left = Fields(fields)
    req_id, number, time_s = left.number(), left.number(), left.number()
    if number != 4:
        raise BadFrame(f"tick-by-tick kind {number}")
    return TickByTickMidPoint(req_id, ns, time_s * SECOND_NS, left.price())


def _last(fields: list[bytes], ns: int) -> MarketDataEvent:
    all_last = fields[2] == b"2"
    try:
        _, req_id, _, time_s, price_raw, size, mask_raw, exchange, conditions, _ = fields
        price, mask = float(price_raw), int(mask_raw)
        if PLAIN_MIN < price < PLAIN_MAX:
            return TickByTickLast(
                int(req_id),
                ns,
                all_last,
                int(time_s) * SECOND_NS,
                price,
                SIZES[size],
                mask & 1 != 0,
                mask & 2 != 0,
                exchange.decode(),
                conditions.decode(),
            )
    except ValueError:
        pass
    left = Fields(fields)
    number = left.number()
    left.skip()
    time_ns, last, last_size, mask = left.number() * SECOND_NS, left.price(), left.size(), left.mask()
    return TickByTickLast(
        number, ns, all_last, time_ns, last, last_size, mask & 1 != 0, mask & 2 != 0, left.text(), left.text()
    )


def _bid_ask(fields: list[bytes], ns: int) -> MarketDataEvent:
    try:
        _, req_id, _, time_s, bid_raw, ask_raw, bid_size, ask_size, mask_raw, _ = fields
        bid, ask, mask = float(bid_raw), float(ask_raw), int(mask_raw)
        if PLAIN_MIN < bid < PLAIN_MAX and PLAIN_MIN < ask < PLAIN_MAX:
            return TickByTickBidAsk(
                int(req_id),
                ns,
                int(time_s) * SECOND_NS,
                bid,
                ask,
                SIZES[bid_size],
                SIZES[ask_size],
                # In the historical message 97 these two bits stand the other way round.
                mask & 1 != 0,
                mask & 2 != 0,
            )
    except ValueError:
        pass
    left = Fields(fields)
    number = left.number()
    left.skip()
    time_ns = left.number() * SECOND_NS
    prices, sizes, mask = (left.price(), left.price()), (left.size(), left.size()), left.mask()
    return TickByTickBidAsk(number, ns, time_ns, *prices, *sizes, mask & 1 != 0, mask & 2 != 0)


def real_time_bar(fields: list[bytes], ns: int) -> MarketDataEvent:
    """Message 50."""
    left = Fields(fields)
    left.skip()
    return RealTimeBar(
        left.number(),
        ns,
        left.number() * SECOND_NS,
        left.price(),
        left.price(),
        left.price(),
        left.price(),
        left.size(),
        left.size(),
        left.count(),
    )


def historical_bar_update(fields: list[bytes], ns: int) -> MarketDataEvent:
    """Message 90: count, date, open, close, high, low, wap, volume, an order no other bar has."""
    left = Fields(fields)
    req_id, count, date = left.number(), left.count(), left.text()
    open_, close, high, low = left.price(), left.price(), left.price(), left.price()
    wap, volume = left.size(), left.size()
    return HistoricalBarUpdate(req_id, ns, date, open_, high, low, close, volume, wap, count)


def depth(fields: list[bytes], ns: int) -> MarketDataEvent:
    """Message 12."""
    try:
        _, _, req_id, position, operation, side, price_raw, size, _ = fields
        price = float(price_raw)
        if PLAIN_MIN < price < PLAIN_MAX:
            return DepthUpdate(
                int(req_id), ns, int(position), int(operation), int(side), price, SIZES[size], None, False
            )
    except ValueError:
        pass
    left = Fields(fields)
    left.skip()
    where = (left.number(), ns, left.number(), left.number(), left.number())
    return DepthUpdate(*where, left.price(), left.size(), None, False)


def depth_l2(has_smart: bool) -> Handler:
    """Message 13. `has_smart`: the server says whether the row is of SMART depth."""

    def decode(fields: list[bytes], ns: int) -> MarketDataEvent:
        left = Fields(fields)
        left.skip()
        req_id, position, maker = left.number(), left.number(), left.text()
        operation, side, price, size = left.number(), left.number(), left.price(), left.size()
        smart = has_smart and left.mask() != 0
        return DepthUpdate(req_id, ns, position, operation, side, price, size, maker, smart)

    return decode


def handlers(server_version: int) -> dict[int, Handler]:
    """Message id -> function, for the layouts of one server version."""
    bits = 1
    if server_version >= PAST_LIMIT:
        bits = 7 if server_version >= PRE_OPEN_BID_ASK else 3
    return {
        1: tick_price(bits),
        2: tick_size,
        12: depth,
        13: depth_l2(server_version >= SMART_DEPTH),
        21: option_computation if server_version >= PRICE_BASED_VOLATILITY else option_computation_old,
        45: tick_generic,
        46: tick_string(server_version >= ENCODE_MSG_ASCII7),
        50: real_time_bar,
        90: historical_bar_update,
        99: tick_by_tick,
    }
