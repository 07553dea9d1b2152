"""Instruments: how a caller names one (`InstrumentQuery`), what IB says it is (`Contract`), and its canonical text id.

Does not resolve anything: which con_id a name means is decided by `core.contracts.core` with IB's answer.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Final, Literal
from urllib.parse import quote, unquote

from msgspec import Struct, structs

WITH_EXPIRY: Final = frozenset({"FUT", "OPT", "FOP", "WAR"})
WITH_STRIKE: Final = frozenset({"OPT", "FOP", "WAR"})
ALWAYS_WITH_CON_ID: Final = frozenset({"BOND"})
# Security types of the TWS API. Source: the official client's contract documentation and reqContractDetails.
SEC_TYPES: Final = frozenset(
    {
        "STK",
        "OPT",
        "FUT",
        "CONTFUT",
        "IND",
        "FOP",
        "CASH",
        "BAG",
        "WAR",
        "BOND",
        "CMDTY",
        "NEWS",
        "FUND",
        "CRYPTO",
        "CFD",
    }
)
DEFAULT_EXCHANGE: Final = {
    "STK": "SMART",
    "OPT": "SMART",
    "CFD": "SMART",
    "BOND": "SMART",
    "CMDTY": "SMART",
    "CASH": "IDEALPRO",
    "CRYPTO": "PAXOS",
    "FUND": "FUNDSERV",
}
# Source: con_id is a 32-bit integer on the wire.
CON_ID_MAX: Final = 2**31 - 1
# Identifiers that IB looks contracts up by. Source: IBKR, TWS API, Contract.secIdType.
SEC_ID_TYPES: Final = ("ISIN", "CUSIP", "FIGI", "SEDOL", "RIC")
# More than any exchange lists as one; IB refuses earlier.
LEGS_MAX: Final = 16
RATIO_MAX: Final = 100_000
COMBINATION_ID: Final = re.compile(r"BAG@[0-9a-f]{16}")
_VENUE: Final = re.compile(r"[A-Z][A-Z0-9]*")
_FIELD_CHARACTERS_MAX: Final = 100
# IB's text frames separate fields by NUL: no control character may reach them.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CON_ID: Final = re.compile(r"[0-9]{1,10}")
_EXPIRY: Final = re.compile(r"[0-9]{6}([0-9]{2})?")
_STRIKE: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_RIGHTS: Final = {"": "", "C": "C", "P": "P", "CALL": "C", "PUT": "P"}


class InvalidInstrumentText(ValueError):
    """A text or object that cannot name an instrument; the message says which form is expected."""


class Leg(Struct, frozen=True, forbid_unknown_fields=True):
    """One leg of a combination: `ratio` of the contract, bought or sold (`action`) for one of the combination."""

    con_id: int
    ratio: int = 1
    action: Literal["BUY", "SELL"] = "BUY"
    exchange: str = ""


class InstrumentQuery(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a caller knows of an instrument. Empty text and 0 mean "not said".

    The fields are those of IB's Contract in snake_case, plus `conid`, the spelling of `market_data_core.Instrument`.
    `last_trade_date` is `YYYYMMDD` or `YYYYMM`; `right` is `C` or `P`; `strike` is a price, None when not said.
    `sec_id` is an identifier of the type `sec_id_type`, one of `SEC_ID_TYPES`; `legs` are those of a BAG.
    """

    symbol: str = ""
    sec_type: str = ""
    exchange: str = ""
    currency: str = ""
    con_id: int = 0
    primary_exchange: str | None = None
    local_symbol: str | None = None
    trading_class: str | None = None
    multiplier: str | None = None
    last_trade_date: str = ""
    strike: float | None = None
    right: str = ""
    conid: int | None = None
    sec_id_type: str = ""
    sec_id: str = ""
    legs: tuple[Leg, ...] = ()


class Contract(Struct, frozen=True, omit_defaults=True):
    """An instrument as IB resolved it, with what trading it on time needs. Source: reqContractDetails.

    `instrument` is the canonical id that names its streams; it is set when the claim on the id is decided.
    `trading_hours` and `liquid_hours` are IB's own text in `time_zone`; `min_tick` is a price.
    `sec_ids` are its other identifiers as IB lists them, each with its type before it (ISIN, CUSIP, ...). A combination
    has `legs`, and con_id 0.
    """

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    currency: str
    instrument: str = ""
    primary_exchange: str = ""
    local_symbol: str = ""
    trading_class: str = ""
    multiplier: str = ""
    last_trade_date: str = ""
    strike: float | None = None
    right: str = ""
    min_tick: float | None = None
    long_name: str = ""
    valid_exchanges: str = ""
    market_rule_ids: str = ""
    trading_hours: str = ""
    liquid_hours: str = ""
    time_zone: str = ""
    under_con_id: int = 0
    sec_ids: tuple[tuple[str, str], ...] = ()
    legs: tuple[Leg, ...] = ()

    @property
    def identity(self) -> str:
        """What tells it from all others: its con_id, or of a combination its id."""
        return str(self.con_id or self.instrument)


def escape(text: str) -> str:
    """Percent-encodes everything outside `[A-Za-z0-9_-]`, as UTF-8."""
    # urllib keeps '.' and '~' among its unreserved characters; the canonical id does not.
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


def strike_text(strike: float) -> str:
    """The shortest plain decimal of a strike: 62.5, 5000, 0.005."""
    text = format(strike, ".12f").rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def instrument_id(contract: Contract, *, with_con_id: bool = False) -> str:
    """The canonical text id of a resolved contract.

    `with_con_id` appends `@{con_id}`: for a contract whose id another con_id claimed first. Bonds always have it.

    >>> instrument_id(Contract(1, "BRK B", "STK", "SMART", "USD"))
    'BRK%20B.STK.SMART.USD'
    """
    if contract.legs:
        return combination_id([(leg.con_id, leg.ratio, leg.action, leg.exchange) for leg in contract.legs])
    parts = [escape(contract.symbol), contract.sec_type, escape(contract.exchange), escape(contract.currency)]
    if contract.sec_type in WITH_EXPIRY:
        parts.append(escape(contract.last_trade_date[:8]))
    if contract.sec_type in WITH_STRIKE:
        parts.append(contract.right[:1])
        parts.append(strike_text(contract.strike or 0.0))
    if contract.sec_type in WITH_EXPIRY:
        parts.append(escape(contract.trading_class))
    text = ".".join(parts)
    if with_con_id or contract.sec_type in ALWAYS_WITH_CON_ID:
        return f"{text}@{contract.con_id}"
    return text


def combination_id(legs: list[tuple[int, int, str, str]]) -> str:
    """The id of a BAG: `BAG@` and a hash of its sorted legs (con_id, ratio, action, exchange)."""
    text = "|".join(",".join(str(part) for part in leg) for leg in sorted(legs))
    return f"BAG@{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def symbol_of(instrument: str) -> str:
    """The symbol in a canonical id."""
    return unquote(instrument.partition(".")[0])


def parse_instrument(text: str) -> InstrumentQuery:
    """A query from a plain symbol (a SMART/USD stock) or a canonical id.

    Raises:
        InvalidInstrumentText: the text is neither.
    """
    if not text or len(text) > 200:
        raise InvalidInstrumentText("instrument must be 1 to 200 characters")
    if COMBINATION_ID.fullmatch(text):
        return InstrumentQuery(sec_type="BAG", local_symbol=text)
    sec_id_type, colon, sec_id = text.partition(":")
    if colon:
        return InstrumentQuery(sec_id_type=sec_id_type.upper(), sec_id=sec_id)
    body, at, con_id_text = text.partition("@")
    if at and "." not in body and _VENUE.fullmatch(con_id_text):
        # SMART routes; the exchange says which of several stocks of that symbol is meant.
        venue = None if con_id_text == "SMART" else con_id_text
        return InstrumentQuery(unquote(body), "STK", "SMART", "USD", primary_exchange=venue)
    if at and not _CON_ID.fullmatch(con_id_text):
        raise InvalidInstrumentText(f"instrument {text!r}: what follows '@' must be a con_id")
    con_id = int(con_id_text or 0)
    if not body:
        return InstrumentQuery(con_id=con_id)
    if "." not in body:
        return InstrumentQuery(symbol=unquote(body), sec_type="STK", exchange="SMART", currency="USD", con_id=con_id)
    parts = body.split(".")
    if len(parts) < 4 or parts[1] not in SEC_TYPES:
        raise InvalidInstrumentText(
            f"instrument {text!r} is neither a plain symbol nor {{symbol}}.{{sec_type}}.{{exchange}}.{{currency}}, "
            "such as AAPL.STK.SMART.USD or EUR.CASH.IDEALPRO.USD (a dot inside a component is written %2E)"
        )
    head = [unquote(part) for part in parts[:4]]
    query = InstrumentQuery(symbol=head[0], sec_type=head[1], exchange=head[2], currency=head[3], con_id=con_id)
    return _with_tail(query, parts[4:], text)


def _with_tail(query: InstrumentQuery, tail: list[str], text: str) -> InstrumentQuery:
    """Reads expiry, right, strike and trading class; only the strike may hold a dot."""
    if query.sec_type not in WITH_EXPIRY:
        if tail:
            raise InvalidInstrumentText(f"instrument {text!r}: {query.sec_type} ends after the currency")
        return query
    if not tail:
        raise InvalidInstrumentText(f"instrument {text!r}: {query.sec_type} needs an expiry YYYYMMDD")
    query = structs.replace(query, last_trade_date=unquote(tail[0]))
    if query.sec_type in WITH_STRIKE:
        if len(tail) < 3 or tail[1] not in {"C", "P"}:
            raise InvalidInstrumentText(f"instrument {text!r}: {query.sec_type} needs .{{C|P}}.{{strike}}.{{class}}")
        strike, trading_class = _split_strike(tail[2:], text)
        return structs.replace(query, right=tail[1], strike=strike, trading_class=trading_class)
    if len(tail) > 2:
        raise InvalidInstrumentText(f"instrument {text!r}: too many components")
    return structs.replace(query, trading_class=unquote(tail[1]) if len(tail) == 2 else None)


def _split_strike(rest: list[str], text: str) -> tuple[float, str | None]:
    """Strike and trading class of `62.5.AAPL` or `62.AAPL`.

    The last of several parts is always the class, since a class may be a number (7203) and a whole strike has no dot:
    whoever leaves the class out can name whole strikes only.
    """
    if len(rest) > 3:
        raise InvalidInstrumentText(f"instrument {text!r}: too many components")
    strike_text, trading_class = (rest[0], None) if len(rest) == 1 else (".".join(rest[:-1]), unquote(rest[-1]))
    if not _STRIKE.fullmatch(strike_text):
        raise InvalidInstrumentText(f"instrument {text!r}: strike {strike_text!r} is not a number")
    return float(strike_text), trading_class


def with_defaults(query: InstrumentQuery) -> InstrumentQuery:
    """Fills what a caller may leave out: a bare symbol is a stock, a stock trades at SMART in USD, forex at IDEALPRO.

    Raises:
        InvalidInstrumentText: nothing names the instrument, or a component is not what IB knows.
    """
    con_id = query.con_id or (query.conid or 0)
    if not 0 <= con_id <= CON_ID_MAX:
        raise InvalidInstrumentText(f"con_id must be between 1 and {CON_ID_MAX}")
    _check_texts(query)
    if query.sec_type == "BAG":
        return _combination(query)
    if query.legs:
        raise InvalidInstrumentText("legs belong to an instrument of the type BAG")
    if bool(query.sec_id) != bool(query.sec_id_type) or (query.sec_id and query.sec_id_type not in SEC_ID_TYPES):
        raise InvalidInstrumentText(f"an identifier is sec_id with sec_id_type, one of {', '.join(SEC_ID_TYPES)}")
    if not con_id and not query.symbol and not query.local_symbol and not query.sec_id:
        raise InvalidInstrumentText("an instrument needs a symbol, a local_symbol, a sec_id or a con_id")
    sec_type = query.sec_type or ("" if con_id else "STK")
    if sec_type and sec_type not in SEC_TYPES:
        raise InvalidInstrumentText(f"sec_type {sec_type!r} is not one of {', '.join(sorted(SEC_TYPES))}")
    if query.last_trade_date and not _EXPIRY.fullmatch(query.last_trade_date):
        raise InvalidInstrumentText(f"last_trade_date {query.last_trade_date!r} is neither YYYYMMDD nor YYYYMM")
    if query.strike is not None and not math.isfinite(query.strike):
        raise InvalidInstrumentText("strike must be a finite number")
    right = _RIGHTS.get(query.right.upper())
    if right is None:
        raise InvalidInstrumentText(f"right {query.right!r} is neither C nor P")
    # An identifier says which stock, and often in which currency; where it does not, the candidates are named.
    # A feed of news need not have one.
    currency = query.currency or ("" if con_id or query.sec_id or sec_type == "NEWS" else "USD")
    exchange = query.exchange or DEFAULT_EXCHANGE.get(sec_type, "")
    return structs.replace(
        query, con_id=con_id, conid=None, sec_type=sec_type, currency=currency, exchange=exchange, right=right
    )


def _combination(query: InstrumentQuery) -> InstrumentQuery:
    """A combination with its legs in order, or the id of one that was named before.

    Raises:
        InvalidInstrumentText: it has neither, or a leg that cannot be.
    """
    if not query.legs:
        if query.local_symbol and COMBINATION_ID.fullmatch(query.local_symbol):
            return InstrumentQuery(sec_type="BAG", local_symbol=query.local_symbol)
        raise InvalidInstrumentText("a BAG needs its legs, each with con_id, ratio, action and exchange")
    if not query.symbol:
        raise InvalidInstrumentText("a BAG needs a symbol, that of its underlying or those of its legs (IBKR,MCD)")
    exchange = query.exchange or "SMART"
    legs = tuple(sorted((structs.replace(leg, exchange=leg.exchange or exchange) for leg in query.legs), key=_leg_key))
    if not 2 <= len(legs) <= LEGS_MAX:
        raise InvalidInstrumentText(f"a BAG has 2 to {LEGS_MAX} legs")
    for leg in legs:
        if not 0 < leg.con_id <= CON_ID_MAX or not 0 < leg.ratio <= RATIO_MAX:
            raise InvalidInstrumentText("a leg has a con_id and a ratio of 1 or more")
        _check_texts(leg)
    currency = query.currency or "USD"
    return InstrumentQuery(query.symbol, "BAG", exchange, currency, legs=legs)


def _leg_key(leg: Leg) -> tuple[int, int, str, str]:
    return leg.con_id, leg.ratio, leg.action, leg.exchange


def _check_texts(query: InstrumentQuery | Leg) -> None:
    for name in query.__struct_fields__:
        value = getattr(query, name)
        if not isinstance(value, str):
            continue
        if len(value) > _FIELD_CHARACTERS_MAX:
            raise InvalidInstrumentText(f"{name} has more than {_FIELD_CHARACTERS_MAX} characters")
        if _CONTROL.search(value):
            raise InvalidInstrumentText(f"{name} holds a control character")
