"""Owns what an instrument of the simulated market is, and what a client writes to mean one.

Must not know which instruments there are, prices over time, sessions or messages.
"""

from __future__ import annotations

import msgspec

# The numbered test stocks SIM000..SIM999.
TEST_STOCKS = 1_000
FIRST_TEST_CON_ID = 900_000_000
STOCK_ORDER_TYPES = "ACTIVETIM,AD,ADJUST,ALERT,ALLOC,AVGCOST,BASKET,COND,DAY,GTC,GTD,GTT,LIT,LMT,MIT,MKT,MOC,STP"
# Source: the contract documentation of the TWS API; FUT+CONTFUT asks for both.
SEC_TYPES = frozenset(
    {
        "STK",
        "OPT",
        "FUT",
        "CONTFUT",
        "FUT+CONTFUT",
        "FOP",
        "IND",
        "CASH",
        "CFD",
        "CMDTY",
        "CRYPTO",
        "BOND",
        "FUND",
        "WAR",
    }
    | {"IOPT", "BAG", "NEWS", "EC"}
)
# Types whose key goes on with the expiry, and those that have a strike and a right as well.
WITH_EXPIRY = frozenset({"FUT", "OPT", "FOP", "WAR"})
WITH_STRIKE = frozenset({"OPT", "FOP", "WAR"})


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a combination; `action` is BUY or SELL."""

    con_id: int
    ratio: int
    action: str
    exchange: str = "SMART"


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One contract. Decimals are text as IB sends them; dates are YYYYMMDD; empty text and 0 mean there is none.

    `hours` names a row of the calendar. `trading_session` and `liquid_session` are the plain weekday form of it,
    `HHMM-HHMM` in `time_zone_id`.

    What its prices are made of: `price_model` says how, `price_con_id` from which other instrument.
    `own`: a path of its own around `start_price`, moving `volatility` a year (0.2 is 20 %).
    `forward`: the other's price carried to `expiry` at `carry_rate` a year (continuous).
    `option`: Black-Scholes in the other's price with `strike`, `right`, `expiry` and `volatility`; the growth of the
    other until then is `carry_rate` a year.
    `same`: the other's price as it is. `legs`: the sum of `legs`. `front`: `forward`, to the expiry of whatever
    future is at the front on the day (`Catalogue.front`).
    `quotes` is False for what has no bid and ask, `trades` for what has no last, `sized` for what has no sizes.
    """

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    currency: str
    primary_exchange: str = ""
    local_symbol: str = ""
    trading_class: str = ""
    market_name: str = ""
    long_name: str = ""
    min_tick: str = "0.01"
    start_price: float = 100.0
    valid_exchanges: str = "SMART"
    order_types: str = STOCK_ORDER_TYPES
    price_magnifier: int = 1
    industry: str = ""
    category: str = ""
    subcategory: str = ""
    time_zone_id: str = "US/Eastern"
    trading_session: str = "0400-2000"
    liquid_session: str = "0930-1600"
    stock_type: str = ""
    isin: str = ""
    agg_group: int = 1
    market_rule_ids: str = "26"
    min_size: str = "1"
    size_increment: str = "1"
    suggested_size_increment: str = "100"
    trades: bool = True
    fractional: bool = False
    lot: int = 100

    # Derivatives. `underlying_con_id` is what IB says in contract details; prices follow `price_con_id`.
    expiry: str = ""
    contract_month: str = ""
    real_expiration_date: str = ""
    last_trade_time: str = ""
    strike: float = 0.0
    right: str = ""
    multiplier: str = ""
    underlying_con_id: int = 0
    under_symbol: str = ""
    under_sec_type: str = ""
    legs: tuple[Leg, ...] = ()
    # What IB shows instead of con_id: a continuous future shows the one of its front month.
    shown_con_id: int = 0

    # The market.
    hours: str = "us-stock"
    price_model: str = "own"
    price_con_id: int = 0
    volatility: float = 0.25
    carry_rate: float = 0.0
    quotes: bool = True
    sized: bool = True
    has_depth: bool = True
    list_date: str = "20040123"

    # Other names.
    cusip: str = ""
    figi: str = ""
    issuer_id: str = ""
    bond: Bond | None = None
    fund: Fund | None = None
    # Why IB does not let it be traded: pairs of an id and a description.
    ineligibility: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """`SYMBOL.TYPE.EXCHANGE.CURRENCY`, the simulator's own name for it in journals and settings.

        Futures go on with `.EXPIRY.CLASS`, options with `.EXPIRY.RIGHT.STRIKE.CLASS`, bonds and combinations with
        `@CON_ID`.
        """
        text = f"{self.symbol}.{self.sec_type}.{self.exchange}.{self.currency}"
        if self.sec_type in WITH_STRIKE:
            return f"{text}.{self.expiry}.{self.right}.{strike_text(self.strike)}.{self.trading_class}"
        if self.sec_type in WITH_EXPIRY:
            return f"{text}.{self.expiry}.{self.trading_class}"
        return f"{text}@{self.con_id}" if self.sec_type in ("BOND", "BAG") else text

    @property
    def decimals(self) -> int:
        """Digits behind the point of a price."""
        return len(self.min_tick.partition(".")[2])

    def trades_on(self, exchange: str) -> bool:
        return exchange == self.exchange or exchange in self.valid_exchanges.split(",")


class Bond(msgspec.Struct, frozen=True, kw_only=True):
    """What only a bond has. `coupon` in percent a year; dates are YYYYMMDD."""

    coupon: float
    maturity: str
    issue_date: str
    bond_type: str = "CORP"
    coupon_type: str = "FIXED"
    ratings: str = ""
    description: str = ""
    callable: bool = False
    puttable: bool = False
    convertible: bool = False
    next_option_date: str = ""
    next_option_type: str = ""
    next_option_partial: bool = False
    notes: str = ""


class Fund(msgspec.Struct, frozen=True, kw_only=True):
    """What only a mutual fund has; amounts and percentages are text, as IB sends them."""

    name: str
    family: str
    fund_type: str = "Equity"
    front_load: str = "0"
    back_load: str = "0"
    back_load_interval: str = "0"
    management_fee: str = "0.04"
    closed: bool = False
    closed_for_new_investors: bool = False
    closed_for_new_money: bool = False
    notify_amount: str = "0"
    minimum_initial_purchase: str = "3000"
    minimum_subsequent_purchase: str = "1"
    blue_sky_states: str = "All"
    blue_sky_territories: str = "GU,PR,VI"
    # Source: ibapi.contract FundDistributionPolicyIndicator (N accumulation, Y income), FundAssetType (004 equity).
    distribution_policy: str = "Y"
    asset_type: str = "004"


class ContractSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wrote to mean a contract; empty text and 0 are not given."""

    con_id: int = 0
    symbol: str = ""
    sec_type: str = ""
    last_trade_date_or_contract_month: str = ""
    strike: float = 0.0
    right: str = ""
    multiplier: str = ""
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    trading_class: str = ""
    include_expired: bool = False
    sec_id_type: str = ""
    sec_id: str = ""
    issuer_id: str = ""
    legs: tuple[Leg, ...] = ()


def strike_text(strike: float) -> str:
    """The shortest plain decimal of a strike: 62.5, 5000, 0.005."""
    return format(strike, ".12f").rstrip("0").rstrip(".")


def split_key(key: str) -> tuple[str, str, str, str]:
    """The four parts of an instrument key; the symbol may hold points itself."""
    parts = key.rsplit(".", 3)
    if len(parts) != 4 or not all(parts):
        raise ValueError(f"instrument {key!r} is not SYMBOL.TYPE.EXCHANGE.CURRENCY")
    return parts[0], parts[1], parts[2], parts[3]


def is_test_stock(instrument: Instrument) -> bool:
    """Whether it is one of SIM000..SIM999."""
    return FIRST_TEST_CON_ID <= instrument.con_id < FIRST_TEST_CON_ID + TEST_STOCKS
