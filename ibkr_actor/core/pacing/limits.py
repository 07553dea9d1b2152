"""Owns IB's request limits as rows of data: what each counts, over which window, in which scope.

Counts nothing itself (`core.pacing.rolling_window`, `core.pacing.open_requests`) and holds no queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.requests import (
    AnyRequest,
    ReqHeadTimestamp,
    ReqHistogram,
    ReqHistoricalData,
    ReqHistoricalTicks,
    ReqMatchingSymbols,
    ReqMktData,
    ReqRealTimeBars,
    ReqScan,
    ReqTickByTick,
)
from ibkr_actor.schema.instruments import Contract

# A switch of the market data type, the request, and the switch back.
SWITCHED_MESSAGES: Final = 3
# Text, so that what was sent can be written down and read back after a restart.
ScopeKey = str | int
# What IB calls small: bars of 30 seconds or less. Source: IBKR, "Historical Data Limitations".
SMALL_BARS: Final = frozenset({"1 secs", "5 secs", "10 secs", "15 secs", "30 secs"})


def weigh_one(request: AnyRequest) -> int:
    """A request counts once."""
    return 1


class Limit(Struct, frozen=True):
    """At most `count` in any `window_s`, for all requests with one `scope` key.

    `scope` gives the key of a request, None when the limit does not concern it; a limit without `scope` is the whole
    connection's and concerns every message, cancels too. `shared` says that there is only one key: who waits for it
    waits in one line. IB counts on receipt, which trails sending by up to `margin_s` more for one request than for
    another: the window is that much longer here. `cools` says that IB's pacing error holds everything under the limit.
    """

    name: str
    window_s: float
    count: int
    margin_s: float
    source: str
    scope: Callable[[AnyRequest], ScopeKey | None] | None = None
    weight: Callable[[AnyRequest], int] = weigh_one
    shared: bool = False
    cools: bool = False

    @property
    def span_s(self) -> float:
        """How long a request counts here."""
        return self.window_s + self.margin_s


class OpenLimit(Struct, frozen=True):
    """At most `count` of the requests it `concerns` may be open: sent, and neither answered, refused nor cancelled."""

    name: str
    count: int
    source: str
    concerns: Callable[[AnyRequest], bool]


def is_small(request: AnyRequest) -> bool:
    """Whether IB paces the request as history of small bars.

    Head timestamps always are. Historical ticks are finer than any bar, and IB's page on them refers to the pacing of
    small bars without saying how they count: the cautious reading.
    """
    match request:
        case ReqHistoricalData(bar_size=bar_size):
            return bar_size in SMALL_BARS
        case ReqHeadTimestamp() | ReqHistoricalTicks():
            return True
    return False


def is_big(request: AnyRequest) -> bool:
    """Whether the request is history that IB only slows down softly: bars of a minute and more, histograms."""
    return isinstance(request, ReqHistogram) or (isinstance(request, ReqHistoricalData) and not is_small(request))


def is_kept(request: AnyRequest) -> bool:
    """Whether the request stays open after its answer, as long as its bars are wanted."""
    return isinstance(request, ReqHistoricalData) and request.keep_up_to_date


def is_history(request: AnyRequest) -> bool:
    """Whether the request counts against the open historical requests; keep-up-to-date ones stay open."""
    return is_small(request) or is_big(request)


def messages_of(request: AnyRequest) -> int:
    """How many messages a request takes."""
    return SWITCHED_MESSAGES if isinstance(request, ReqMktData) and request.feed else 1


def tick_by_tick_instrument(request: AnyRequest) -> ScopeKey | None:
    """Tick-by-tick requests are counted per contract, whatever their type."""
    return request.contract.con_id if isinstance(request, ReqTickByTick) else None


def searches(request: AnyRequest) -> ScopeKey | None:
    """Searches for symbols share one window."""
    return "all" if isinstance(request, ReqMatchingSymbols) else None


# The name of the limit that all requests for small bars share.
SMALL_BARS_LIMIT: Final = "small_bars"


def small_bars(request: AnyRequest) -> ScopeKey | None:
    """New real-time bars and small-bar history share one window."""
    return "all" if isinstance(request, ReqRealTimeBars) or is_small(request) else None


def big_bars(request: AnyRequest) -> ScopeKey | None:
    """Everything that IB only slows down softly."""
    return "all" if is_big(request) else None


def same_contract(request: AnyRequest) -> ScopeKey | None:
    """Small-bar history by contract, exchange and what IB calls tick type."""
    match request:
        case ReqHistoricalData() | ReqHistoricalTicks() | ReqHeadTimestamp() if is_small(request):
            return f"{_contract_key(request.contract)}:{request.what_to_show}"
    return None


def identical(request: AnyRequest) -> ScopeKey | None:
    """Small-bar history by everything it asks for."""
    match request:
        case ReqHistoricalData(contract=c, end=end, duration=duration, bar_size=size, what_to_show=what, use_rth=rth):
            return f"bars:{_contract_key(c)}:{what}:{size}:{duration}:{end}:{rth:d}" if is_small(request) else None
        case ReqHistoricalTicks(contract=c, start=start, end=end, count=count, what_to_show=what, use_rth=rth):
            return f"ticks:{_contract_key(c)}:{what}:{count}:{start}:{end}:{rth:d}:{request.ignore_size:d}"
        case ReqHeadTimestamp(contract=c, what_to_show=what, use_rth=rth):
            return f"head:{_contract_key(c)}:{what}:{rth:d}"
    return None


def _contract_key(contract: Contract) -> str:
    """The con_id names a contract; without one, what does."""
    if contract.con_id or contract.legs:
        return f"{contract.identity}@{contract.exchange}"
    named = (contract.sec_type, contract.symbol, contract.currency, contract.local_symbol, contract.trading_class)
    expiry = (contract.last_trade_date, contract.multiplier, contract.strike, contract.right)
    return f"{'.'.join(str(part) for part in named + expiry)}@{contract.exchange}"


def bid_ask_twice(request: AnyRequest) -> int:
    """History of BID_ASK counts twice: IB answers it out of two series. Source: "Historical Data Limitations"."""
    match request:
        case ReqHistoricalData(what_to_show="BID_ASK") | ReqHistoricalTicks(what_to_show="BID_ASK"):
            return 2
        case ReqHeadTimestamp(what_to_show="BID_ASK"):
            return 2
    return 1


_PACING_PAGE: Final = "IBKR, TWS API: Pacing Limitations"
_HISTORY_PAGE: Final = "IBKR, TWS API: Historical Data Limitations (legacy historical_limitations.html)"
_SMALL_BARS_PAGE: Final = "IBKR, TWS API: Pacing Violations for Small Bars (30 secs or less)"

_SCANNER_PAGE: Final = "IBKR, TWS API: Market Scanner: 10 API scanner subscriptions at a time"
SCANS_MAX: Final = 10


def limits_of(config: PacingConfig) -> tuple[Limit, ...]:
    """Every limit on how often something is asked."""
    margin_s = config.window_margin_s
    return (
        Limit("messages", 1.0, max(1, config.lines // 2), config.message_margin_s, _PACING_PAGE),
        Limit(
            "tick_by_tick_instrument",
            15.0,
            1,
            margin_s,
            "IBKR, TWS API: Request Tick-by-Tick Data",
            tick_by_tick_instrument,
        ),
        Limit("search", 1.0, 1, config.message_margin_s, "IBKR, TWS API: Stock Contract Search", searches, shared=True),
        Limit(
            SMALL_BARS_LIMIT,
            config.small_bars_window_s,
            config.small_bars_count,
            margin_s,
            f"{_SMALL_BARS_PAGE}; Real Time Bars (legacy realtime_bars.html) for the shared window",
            small_bars,
            bid_ask_twice,
            shared=True,
            cools=True,
        ),
        # "Six or more" within two seconds is the violation.
        Limit("same_contract", 2.0, 5, margin_s, _SMALL_BARS_PAGE, same_contract, bid_ask_twice),
        Limit("identical", 15.0, 1, margin_s, _SMALL_BARS_PAGE, identical),
        Limit(
            "big_bars",
            1.0,
            config.big_bars_per_s,
            config.message_margin_s,
            f"{_HISTORY_PAGE}, footnote: the hard limit is lifted, a soft one remains; the number is ours",
            big_bars,
            shared=True,
            cools=True,
        ),
    )


def open_limits_of(config: PacingConfig) -> tuple[OpenLimit, ...]:
    """Every limit on how much may be unanswered."""
    return (
        OpenLimit("open_history", config.open_max, _HISTORY_PAGE, is_history),
        OpenLimit(
            "open_big_bars",
            config.big_bars_open_max,
            f"{_HISTORY_PAGE}: a much smaller number is more efficient; the number is ours",
            lambda request: is_big(request) and not is_kept(request),
        ),
        OpenLimit("open_scans", SCANS_MAX, _SCANNER_PAGE, lambda request: isinstance(request, ReqScan)),
    )
