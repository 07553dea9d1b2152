"""Owns which instruments the simulated market has, and finding one by what a client wrote.

Must not know prices over time, sessions or messages.
"""

from __future__ import annotations

from collections.abc import Iterable

from ibkr_actor.sim.instruments import FIRST_TEST_CON_ID, TEST_STOCKS, ContractSpec, Instrument, split_key

_FOREX_ORDER_TYPES = "ACTIVETIM,AD,ADJUST,ALERT,ALLOC,BASKET,COND,DAY,GTC,GTD,LIT,LMT,MIT,MKT,STP"
_US_VENUES = "SMART,AMEX,NYSE,CBOE,PHLX,ISE,CHX,ARCA,NASDAQ,DRCTEDGE,BEX,BATS,EDGEA,BYX,IEX,EDGX,PEARL,LTSE,MEMX,PSX"


class Catalogue:
    """All instruments; additions are allowed, removals are not."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._by_con_id: dict[int, Instrument] = {}
        for instrument in instruments:
            self.add(instrument)

    def add(self, instrument: Instrument) -> None:
        """Raises: ValueError when the con_id is taken by something else."""
        if self._by_con_id.setdefault(instrument.con_id, instrument) != instrument:
            raise ValueError(f"con_id {instrument.con_id} is taken")

    def instrument(self, con_id: int) -> Instrument:
        """By con_id. Raises: KeyError when there is none."""
        return self._by_con_id[con_id]

    def all(self) -> list[Instrument]:
        return list(self._by_con_id.values())

    def match(self, spec: ContractSpec) -> list[Instrument]:
        """Every instrument the description fits, in order of con_id."""
        if spec.con_id:
            found = self._by_con_id.get(spec.con_id)
            candidates = [found] if found is not None else []
        else:
            candidates = sorted(self._by_con_id.values(), key=lambda each: each.con_id)
        return [each for each in candidates if _fits(each, spec)]

    def samples(self, pattern: str, at_most: int = 16) -> tuple[Instrument, ...]:
        """Instruments whose symbol begins with, or whose name contains, `pattern`. Source: reqMatchingSymbols, 16."""
        wanted = pattern.strip().upper()
        if not wanted:
            return ()
        starts = [each for each in self.all() if each.symbol.startswith(wanted)]
        named = [each for each in self.all() if wanted in each.long_name.upper() and each not in starts]
        return tuple((starts + named)[:at_most])

    def find(self, name: str | int | Instrument) -> Instrument:
        """By con_id, key (`AAPL.STK.SMART.USD`), forex pair (`EUR.USD`) or symbol.

        Raises: KeyError when there is none.
        """
        if isinstance(name, Instrument):
            return name
        if isinstance(name, int):
            return self._by_con_id[name]
        for each in self._by_con_id.values():
            if name in (each.key, each.symbol) or (each.sec_type == "CASH" and name == each.local_symbol):
                return each
        raise KeyError(name)

    def find_or_add(self, key: str) -> Instrument:
        """The instrument of a `SYMBOL.TYPE.EXCHANGE.CURRENCY` key, made with plain values when it is new.

        Raises: ValueError when the key has not four parts.
        """
        try:
            return self.find(key)
        except KeyError:
            pass
        symbol, sec_type, exchange, currency = split_key(key)
        made = Instrument(
            con_id=max(self._by_con_id) + 1,
            symbol=symbol,
            sec_type=sec_type,
            exchange=exchange,
            currency=currency,
            local_symbol=symbol,
            trading_class=symbol,
            market_name=symbol,
            long_name=f"{symbol} ({exchange})",
            primary_exchange="" if exchange == "SMART" else exchange,
            valid_exchanges=exchange if exchange == "SMART" else f"SMART,{exchange}",
        )
        self.add(made)
        return made


def _fits(instrument: Instrument, spec: ContractSpec) -> bool:
    exact = (
        (spec.symbol, instrument.symbol),
        (spec.sec_type, instrument.sec_type),
        (spec.currency, instrument.currency),
        (spec.local_symbol, instrument.local_symbol),
        (spec.trading_class, instrument.trading_class),
        (spec.primary_exchange, instrument.primary_exchange),
    )
    if not spec.con_id and not (spec.symbol or spec.local_symbol or spec.sec_id):
        return False
    if spec.con_id == 0 and any(wanted and wanted != has for wanted, has in exact):
        return False
    if spec.sec_id_type and (spec.sec_id_type != "ISIN" or spec.sec_id != instrument.isin):
        return False
    if spec.last_trade_date_or_contract_month or spec.right:
        return False
    return not spec.exchange or instrument.trades_on(spec.exchange)


def default_catalogue() -> Catalogue:
    """US stocks, forex pairs, a stock listed in two countries, a Hong Kong stock and the numbered test stocks."""
    stocks = [_us_stock(*row) for row in _US_STOCKS]
    pairs = [_forex(*row) for row in _FOREX]
    tests = [_test_stock(number) for number in range(TEST_STOCKS)]
    return Catalogue([*stocks, *pairs, *_FOREIGN, *tests])


# con_id, symbol, primary exchange, name, start price, trading class, stock type, ISIN, industry, fractional
_US_STOCKS: tuple[tuple[int, str, str, str, float, str, str, str, str, bool], ...] = (
    (265598, "AAPL", "NASDAQ", "APPLE INC", 227.5, "NMS", "COMMON", "US0378331005", "Technology", False),
    (272093, "MSFT", "NASDAQ", "MICROSOFT CORP", 415.2, "NMS", "COMMON", "US5949181045", "Technology", False),
    (4815747, "NVDA", "NASDAQ", "NVIDIA CORP", 131.4, "NMS", "COMMON", "US67066G1040", "Technology", True),
    (3691937, "AMZN", "NASDAQ", "AMAZON.COM INC", 186.4, "NMS", "COMMON", "US0231351067", "Communications", False),
    (208813720, "GOOG", "NASDAQ", "ALPHABET INC-CL C", 166.9, "NMS", "COMMON", "US02079K1079", "Communications", False),
    (76792991, "TSLA", "NASDAQ", "TESLA INC", 249.8, "NMS", "COMMON", "US88160R1014", "Consumer, Cyclical", True),
    (107113386, "META", "NASDAQ", "META PLATFORMS INC", 567.8, "NMS", "COMMON", "US30303M1027", "Internet", False),
    (8314, "IBM", "NYSE", "INTL BUSINESS MACHINES CORP", 214.6, "IBM", "COMMON", "US4592001014", "Technology", False),
    (1520593, "JPM", "NYSE", "JPMORGAN CHASE & CO", 224.1, "JPM", "COMMON", "US46625H1005", "Financial", False),
    (8894, "KO", "NYSE", "COCA-COLA CO/THE", 65.2, "KO", "COMMON", "US1912161007", "Consumer, Non-cyclical", False),
    (756733, "SPY", "ARCA", "SS SPDR S&P 500 ETF TRUST-US", 584.6, "SPY", "ETF", "US78462F1030", "", True),
    (320227571, "QQQ", "NASDAQ", "INVESCO QQQ TRUST SERIES 1", 494.5, "NMS", "ETF", "US46090E1038", "", False),
)  # fmt: skip

# con_id, base, quote, start price, min tick
_FOREX: tuple[tuple[int, str, str, float, str], ...] = (
    (12087792, "EUR", "USD", 1.08505, "0.00005"),
    (12087797, "GBP", "USD", 1.3062, "0.00005"),
    (15016059, "USD", "JPY", 151.845, "0.005"),
    (12087820, "USD", "CHF", 0.8663, "0.00005"),
    (15016062, "USD", "CAD", 1.3835, "0.00005"),
    (14433401, "AUD", "USD", 0.6698, "0.00005"),
    (12087807, "EUR", "GBP", 0.8311, "0.00005"),
)

_FOREIGN = (
    Instrument(
        con_id=11028, symbol="RY", sec_type="STK", exchange="SMART", currency="USD", primary_exchange="NYSE",
        local_symbol="RY", trading_class="RY", market_name="RY", long_name="ROYAL BANK OF CANADA", start_price=124.6,
        valid_exchanges=_US_VENUES, industry="Financial", category="Banks", stock_type="COMMON", isin="CA7800871021",
    ),
    Instrument(
        con_id=4458964, symbol="RY", sec_type="STK", exchange="SMART", currency="CAD", primary_exchange="TSE",
        local_symbol="RY", trading_class="RY", market_name="RY", long_name="ROYAL BANK OF CANADA", start_price=171.2,
        valid_exchanges="SMART,TSE,CHIX,ALPHA,OMEGA", industry="Financial", category="Banks", stock_type="COMMON",
        isin="CA7800871021", liquid_session="0930-1600", trading_session="0930-1600",
    ),
    Instrument(
        con_id=152791428, symbol="700", sec_type="STK", exchange="SEHK", currency="HKD", primary_exchange="SEHK",
        local_symbol="700", trading_class="700", market_name="700", long_name="TENCENT HOLDINGS LTD", min_tick="0.2",
        start_price=443.8, valid_exchanges="SMART,SEHK", industry="Communications", stock_type="COMMON",
        isin="KYG875721634", time_zone_id="Asia/Hong_Kong", trading_session="0930-1600", liquid_session="0930-1600",
    ),
    Instrument(
        con_id=14094, symbol="BMW", sec_type="STK", exchange="SMART", currency="EUR", primary_exchange="IBIS",
        local_symbol="BMW", trading_class="XETRA", market_name="XETRA", long_name="BAYERISCHE MOTOREN WERKE, München",
        min_tick="0.02", start_price=75.3, valid_exchanges="SMART,IBIS,FWB,SWB,GETTEX", stock_type="COMMON",
        isin="DE0005190003", time_zone_id="MET", trading_session="0900-1730", liquid_session="0900-1730", lot=1,
    ),
)  # fmt: skip


def _us_stock(
    con_id: int, symbol: str, primary: str, name: str, price: float,
    trading_class: str, stock_type: str, isin: str, industry: str, fractional: bool,
) -> Instrument:  # fmt: skip
    return Instrument(
        con_id=con_id, symbol=symbol, sec_type="STK", exchange="SMART", currency="USD", primary_exchange=primary,
        local_symbol=symbol, trading_class=trading_class, market_name=trading_class, long_name=name,
        start_price=price, valid_exchanges=_US_VENUES, industry=industry, stock_type=stock_type, isin=isin,
        min_size="0.0001" if fractional else "1", size_increment="0.0001" if fractional else "1", fractional=fractional,
    )  # fmt: skip


def _forex(con_id: int, base: str, quote: str, price: float, min_tick: str) -> Instrument:
    return Instrument(
        con_id=con_id, symbol=base, sec_type="CASH", exchange="IDEALPRO", currency=quote,
        local_symbol=f"{base}.{quote}", trading_class=f"{base}.{quote}", market_name=f"{base}.{quote}",
        long_name=f"{base}/{quote} spot", min_tick=min_tick, start_price=price, valid_exchanges="IDEALPRO",
        order_types=_FOREX_ORDER_TYPES, trading_session="1715-1700", liquid_session="1715-1700", agg_group=4,
        market_rule_ids="239", min_size="0.01", size_increment="0.01", suggested_size_increment="1", trades=False,
        lot=100000,
    )  # fmt: skip


def _test_stock(number: int) -> Instrument:
    symbol = f"SIM{number:03d}"
    return Instrument(
        con_id=FIRST_TEST_CON_ID + number, symbol=symbol, sec_type="STK", exchange="SMART", currency="USD",
        primary_exchange="NASDAQ", local_symbol=symbol, trading_class="SIM", market_name="SIM",
        long_name=f"SIMULATED STOCK {number:03d}", min_tick=("0.01", "0.0001", "0.05", "0.5")[number % 4],
        start_price=10.0 + number, valid_exchanges="SMART,NASDAQ", stock_type="COMMON",
        isin=f"XS{number:010d}", fractional=number % 5 == 1,
    )  # fmt: skip
