"""Owns what IB allows to be asked of the past: each rule a row with its code and text, and the counting of requests.

Must not send anything or read a clock; every question comes with its time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import NamedTuple

from ibkr_actor.sim.desks.refusals import validation
from ibkr_actor.sim.desks.rules import Rule, Window
from ibkr_actor.sim.history.times import Duration
from ibkr_actor.sim.market.bars import BarSize

HMDS = "Historical Market Data Service error message:"
# Source: the list in the gateway's own error 321 (InterReact#16); `1W` and `1M` have longer spellings too.
LEGAL_BAR_SIZES = (
    "1 secs, 5 secs, 10 secs, 15 secs, 30 secs, 1 min, 2 mins, 3 mins, 5 mins, 10 mins, 15 mins, 20 mins, 30 mins, "
    "1 hour, 2 hours, 3 hours, 4 hours, 8 hours, 1 day, 1W, 1M"
)
_SPELLINGS = frozenset(LEGAL_BAR_SIZES.lower().split(", ")) | {"1 w", "1 week", "1 m", "1 month"}
# Bars up to this are small: paced, and kept for six months. Source: IBKR, pacing violations for small bars.
SMALL_BAR_S = 30
SMALL_BAR_KEPT_S = 183 * 86_400
# Source: IBKR, historical data limitations.
OPEN_REQUESTS = 50
IDENTICAL_S = 15.0
BURST, BURST_S = 5, 2.0
TICKS_MAX = 1000
EXPIRED_FUTURE_KEPT_S = 2 * 365 * 86_400
# The finest bar each unit of duration takes. Source: IBKR, step sizes (the lower bounds; the upper ones are not held by
# gateways: `1 day` bars over days and months are what most programs ask).
FINEST_STEP_S = {"S": 1, "D": 5, "W": 10, "M": 30, "Y": 60}
# Source: IBKR, max duration per bar size.
LONGEST = {"S": 86_400, "D": 365, "W": 52, "M": 12, "Y": 68}
LONGEST_OF_1_SECS = 2000

TICK_VIEWS = ("TRADES", "MIDPOINT", "BID_ASK", "AGGTRADES")
UPDATE_VIEWS = ("TRADES", "MIDPOINT", "BID", "ASK")
_DATE_FORM = (
    "{}: The date, time, or time-zone entered is invalid. The correct format is yyyymmdd hh:mm:ss xx/xxxx where "
    "yyyymmdd and xx/xxxx are optional. E.g.: 20031126 15:59:00 US/Eastern  Note that there is a space between the "
    "date and time, and between the time and time-zone.  If no date is specified, current date is assumed. If no "
    "time-zone is specified, local time-zone is assumed(deprecated).  You can also provide yyyymmddd-hh:mm:ss time is "
    "in UTC. Note that there is a dash between the date and time in UTC notation."
)
IMPLIED_ZONE = (
    "Warning: You submitted request with date-time attributes without explicit time zone. Please switch to use "
    "yyyymmdd-hh:mm:ss in UTC or use instrument time zone, like US/Eastern. Implied time zone functionality will be "
    "removed in the next API release"
)
QUERY_NOT_FOUND = "No historical data query found for ticker id:"
DUPLICATE_ID = "Error processing request.-'bW' : cause - Duplicate ticker ID for API historical data query"
TOO_MANY_OPEN = (
    f"Error processing request.-'bW' : cause - Only {OPEN_REQUESTS} simultaneous API historical data requests allowed."
)
PACING = f"{HMDS}Historical data request pacing violation"
CANNOT_EXPIRE = "HMDS Expired Contract Violation:contract can not expire"

# whatToShow -> how the data service names it where there is none of it, and how where a query found nothing.
# Source: 162 as sent: "No historical market data for SPX/IND@CBOE MidPoint 60", "HMDS query returned no data: GE@SMART
# Trades".
_SERVICE_NAMES = {
    "TRADES": "Last",
    "AGGTRADES": "AggLast",
    "MIDPOINT": "MidPoint",
    "BID": "Bid",
    "ASK": "Ask",
    "BID_ASK": "BidAsk",
    "ADJUSTED_LAST": "AdjustedLast",
    "HISTORICAL_VOLATILITY": "HistoricalVolatility",
    "OPTION_IMPLIED_VOLATILITY": "ImpliedVolatility",
    "FEE_RATE": "FeeRate",
    "YIELD_BID": "YieldBid",
    "YIELD_ASK": "YieldAsk",
    "YIELD_BID_ASK": "YieldBidAsk",
    "YIELD_LAST": "YieldLast",
    "SCHEDULE": "Schedule",
}
BAR_VIEWS = tuple(_SERVICE_NAMES)


class Refusal(NamedTuple):
    """What a request is answered with; `rule` is None where an honest program can meet it."""

    rule: Rule | None
    code: int
    text: str


class BarAsk(NamedTuple):
    """A request for bars, as far as the rules look at it. `size` and `duration` are legal when they are not None."""

    sec_type: str
    what_to_show: str
    end_given: bool
    size: BarSize
    duration: Duration
    format_date: int = 1
    keep_up_to_date: bool = False


class Row(NamedTuple):
    """One rule: the breach gives the cause of the refusal, or None."""

    rule: Rule
    code: int
    breach: Callable[[BarAsk], str | None]


def legal_bar_size(text: str) -> BarSize:
    """The size a client wrote; gateways take fewer spellings than people use.

    Raises: ValueError with the cause.
    """
    if text.strip().lower() not in _SPELLINGS:
        raise ValueError(f"Historical data bar size setting is invalid. Legal ones are: {LEGAL_BAR_SIZES}")
    return BarSize.parse(text)


def _when(condition: Callable[[BarAsk], bool], cause: str) -> Callable[[BarAsk], str | None]:
    return lambda ask: cause if condition(ask) else None


def _too_long(unit: str, cause: str) -> Callable[[BarAsk], str | None]:
    return _when(lambda ask: ask.duration.unit == unit and ask.duration.number > LONGEST[unit], cause)


def _in_years(unit: str, words: str, requests: str = "request") -> Callable[[BarAsk], str | None]:
    """`365 D` is a `days` of 365. The plural of the first word differs by unit in the gateway's own texts."""
    text = f"Historical data {requests} for durations longer than {LONGEST[unit]} {words} must be made in years."
    return _too_long(unit, text)


def _wrong_trades(ask: BarAsk) -> str | None:
    return wrong_trades(ask.what_to_show) if is_wrong_trades(ask.sec_type, ask.what_to_show) else None


def is_wrong_trades(sec_type: str, what_to_show: str) -> bool:
    """Crypto has AGGTRADES instead of TRADES, nothing else has, live or later.

    Source: both as a gateway answers them, github.com/wboayue/rust-ibapi/pull/693.
    """
    return what_to_show == ("TRADES" if sec_type == "CRYPTO" else "AGGTRADES")


def wrong_trades(what_to_show: str) -> str:
    """The text of 10299."""
    expected = "TRADES" if what_to_show == "AGGTRADES" else "AGGTRADES"
    return f"Expected what to show is {expected}, please use that instead of {what_to_show}."


def _step(ask: BarAsk) -> str | None:
    if ask.size.seconds < FINEST_STEP_S[ask.duration.unit]:
        return f"{HMDS}invalid step: {ask.size.seconds}"
    return None


# In the order a gateway looks. 321 wraps the cause, every other code says it as it is.
ROWS: tuple[Row, ...] = (
    Row(Rule.HISTORY_DURATION, 321, _too_long("S", "Historical data request for greater than 86400 seconds rejected.")),
    Row(Rule.HISTORY_DURATION, 321, _in_years("D", "days", "requests")),
    Row(Rule.HISTORY_DURATION, 321, _in_years("W", "weeks")),
    Row(Rule.HISTORY_DURATION, 321, _in_years("M", "months")),
    Row(Rule.HISTORY_DURATION, 321, _too_long("Y", "Historical data requested duration is invalid.")),
    Row(
        Rule.HISTORY_END,
        321,
        _when(
            lambda ask: ask.what_to_show == "ADJUSTED_LAST" and ask.end_given,
            "End date not supported with adjusted last",
        ),
    ),
    Row(
        Rule.HISTORY_END,
        10339,
        _when(
            lambda ask: ask.sec_type == "CONTFUT" and ask.end_given,
            "Setting end date/time for continuous future security type is not allowed.",
        ),
    ),
    Row(
        Rule.HISTORY_VIEW,
        321,
        _when(
            lambda ask: ask.what_to_show == "ADJUSTED_LAST" and ask.size.unit in ("week", "month"),
            "Multi day bar size not supported with adjusted last",
        ),
    ),
    Row(
        Rule.HISTORY_VIEW,
        321,
        _when(
            lambda ask: ask.what_to_show not in BAR_VIEWS,
            "Historical data request what to show field is missing or incorrect.",
        ),
    ),
    Row(
        Rule.HISTORY_FORMAT,
        321,
        lambda ask: (
            None if ask.format_date in (1, 2, 3) else f"Date formatting selection of {ask.format_date} rejected."
        ),
    ),
    Row(
        Rule.HISTORY_UPDATES,
        321,
        _when(lambda ask: ask.keep_up_to_date and ask.end_given, "End date not supported with live updates"),
    ),
    Row(
        Rule.HISTORY_UPDATES,
        321,
        _when(lambda ask: ask.keep_up_to_date and ask.sec_type == "BAG", "Live updates for combos are not supported"),
    ),
    Row(
        Rule.HISTORY_UPDATES,
        321,
        _when(
            lambda ask: ask.keep_up_to_date and ask.what_to_show not in UPDATE_VIEWS,
            "Source price not supported with live updates",
        ),
    ),
    Row(
        Rule.HISTORY_UPDATES,
        321,
        _when(lambda ask: ask.keep_up_to_date and ask.size.seconds < 5, "Bar size not supported with live updates"),
    ),
    Row(
        Rule.HISTORY_VIEW,
        10295,
        _when(
            lambda ask: ask.what_to_show == "SCHEDULE" and ask.size.unit != "day",
            "Only daily resolution supported for Schedule requests",
        ),
    ),
    Row(Rule.HISTORY_VIEW, 10299, _wrong_trades),
    Row(Rule.HISTORY_STEP, 162, _step),
    Row(
        Rule.HISTORY_STEP,
        162,
        _when(
            lambda ask: ask.size.seconds == 1 and ask.duration.number > LONGEST_OF_1_SECS,
            f"{HMDS}Time length exceed max.",
        ),
    ),
)


def refusal_of(ask: BarAsk) -> Refusal | None:
    """The first row a request for bars breaks."""
    for row in ROWS:
        cause = row.breach(ask)
        if cause is not None:
            return Refusal(row.rule, row.code, validation(cause) if row.code == 321 else cause)
    return None


def bad_date(which: str) -> Refusal:
    """`which` is `Start Date/Time` or `End Date/Time`."""
    return Refusal(Rule.HISTORY_DATE, 10314, _DATE_FORM.format(which))


def ticks_refusal_of(sec_type: str, what_to_show: str, number_of_ticks: int, ends_given: int) -> Refusal | None:
    """What is wrong with a request for ticks. `ends_given`: how many of start and end are. 321 all."""
    cause = None
    if sec_type == "BAG":
        cause = "Combo types are not supported"
    elif number_of_ticks <= 0:
        cause = "Number of ticks must be > 0"
    elif number_of_ticks > TICKS_MAX:
        cause = f"Number of ticks must be <= {TICKS_MAX}"
    elif not what_to_show:
        cause = "Source price must not be empty"
    elif what_to_show not in TICK_VIEWS:
        cause = "Invalid source price"
    elif ends_given != 1:
        cause = "Exactly one of start and end date must be given"
    return None if cause is None else Refusal(Rule.HISTORY_TICKS, 321, validation(cause))


def no_such_data(symbol: str, sec_type: str, exchange: str, what_to_show: str, step_s: int) -> str:
    """162 where an instrument has no data of a kind at all."""
    return f"{HMDS}No historical market data for {symbol}/{sec_type}@{exchange} {_SERVICE_NAMES[what_to_show]} {step_s}"


def nothing_found(local_symbol: str, exchange: str, what_to_show: str) -> str:
    """162 where there is no data in the stretch asked for."""
    return f"{HMDS}HMDS query returned no data: {local_symbol}@{exchange} {what_to_show.capitalize()}"


def cancelled(req_id: int) -> str:
    return f"{HMDS}API historical data query cancelled: {req_id}"


class SmallBars:
    """Counts the requests IB paces: bars of 30 s or less and head timestamps, with the real-time bars in `window`.

    Source: IBKR, pacing violations for small bars: none identical within 15 s, fewer than six of one contract, exchange
    and type in 2 s, 60 in 600 s. BID_ASK counts twice in both.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._identical: dict[Hashable, float] = {}
        self._bursts: dict[Hashable, deque[float]] = {}

    def breach(self, identity: Hashable, subject: Hashable, cost: int, now_s: float) -> Rule | None:
        """The rule a request breaks; it counts when it breaks none.

        `identity` is all of the request, `subject` its contract, exchange and type, `cost` 2 for BID_ASK.
        """
        self._forget(now_s)
        if identity in self._identical:
            return Rule.HISTORY_IDENTICAL
        burst = self._bursts.get(subject, ())
        if len(burst) + cost > BURST:
            return Rule.HISTORY_BURST
        if self._window.count(now_s) + cost > self._window.limit:
            return Rule.HISTORY_RATE
        self._identical[identity] = now_s
        for _ in range(cost):
            self._bursts.setdefault(subject, deque()).append(now_s)
            self._window.take(now_s)
        return None

    def _forget(self, now_s: float) -> None:
        """What is past its time goes, so that neither table outgrows the rate."""
        self._identical = {key: then_s for key, then_s in self._identical.items() if now_s - then_s < IDENTICAL_S}
        for subject, times in list(self._bursts.items()):
            while times and now_s - times[0] >= BURST_S:
                times.popleft()
            if not times:
                del self._bursts[subject]
