"""Owns the instruments that are always there: stocks, funds, pairs, coins, indices, bonds, metals and CFDs, as rows.

Must not know futures and options, which come and go, nor how a client finds any of them.
"""

from __future__ import annotations

from ibkr_actor.sim.market.instruments import FIRST_TEST_CON_ID, TEST_STOCKS, Bond, Fund, Instrument
from ibkr_actor.sim.market.news import PROVIDERS
from ibkr_actor.sim.market.pricing import RATE

_FOREX_ORDER_TYPES = "ACTIVETIM,AD,ADJUST,ALERT,ALLOC,BASKET,COND,DAY,GTC,GTD,LIT,LMT,MIT,MKT,STP"
_US_VENUES = "SMART,AMEX,NYSE,CBOE,PHLX,ISE,CHX,ARCA,NASDAQ,DRCTEDGE,BEX,BATS,EDGEA,BYX,IEX,EDGX,PEARL,LTSE,MEMX,PSX"
# con_ids of things whose number at IB is not known here. Real ones are below 900,000,000.
_OWN = 930_000_000

SPX, ES_INDEX, NQ_INDEX, NDX, CL_INDEX, DAX, GOLD = 416904, 11004968, 11004958, 416843, 17340715, 825711, 69067924
EUR_USD = 12087792

# con_id, symbol, primary exchange, name, start price, trading class, stock type, ISIN, industry, fractional
_US_STOCKS: tuple[tuple[int, str, str, str, float, str, str, str, str, bool], ...] = (
    (265598, "AAPL", "NASDAQ", "APPLE INC", 227.5, "NMS", "COMMON", "US0378331005", "Technology", False),
    (272093, "MSFT", "NASDAQ", "MICROSOFT CORP", 415.2, "NMS", "COMMON", "US5949181045", "Technology", False),
    (4815747, "NVDA", "NASDAQ", "NVIDIA CORP", 131.4, "NMS", "COMMON", "US67066G1040", "Technology", True),
    (3691937, "AMZN", "NASDAQ", "AMAZON.COM INC", 186.4, "NMS", "COMMON", "US0231351067", "Communications", False),
    (208813720, "GOOG", "NASDAQ", "ALPHABET INC-CL C", 166.9, "NMS", "COMMON", "US02079K1079", "Communications", False),
    (76792991, "TSLA", "NASDAQ", "TESLA INC", 249.8, "NMS", "COMMON", "US88160R1014", "Consumer", True),
    (107113386, "META", "NASDAQ", "META PLATFORMS INC", 567.8, "NMS", "COMMON", "US30303M1027", "Internet", False),
    (8314, "IBM", "NYSE", "INTL BUSINESS MACHINES CORP", 214.6, "IBM", "COMMON", "US4592001014", "Technology", False),
    (1520593, "JPM", "NYSE", "JPMORGAN CHASE & CO", 224.1, "JPM", "COMMON", "US46625H1005", "Financial", False),
    (8894, "KO", "NYSE", "COCA-COLA CO/THE", 65.2, "KO", "COMMON", "US1912161007", "Consumer", False),
    (756733, "SPY", "ARCA", "SS SPDR S&P 500 ETF TRUST-US", 584.6, "SPY", "ETF", "US78462F1030", "", True),
    (320227571, "QQQ", "NASDAQ", "INVESCO QQQ TRUST SERIES 1", 494.5, "NMS", "ETF", "US46090E1038", "", False),
)  # fmt: skip
_FIGIS = {
    265598: "BBG000B9XRY4",
    272093: "BBG000BPH459",
    4815747: "BBG000BBJQV0",
    3691937: "BBG000BVPV84",
    208813720: "BBG009S3NB30",
    76792991: "BBG000N9MNX3",
    107113386: "BBG000MM2P62",
    8314: "BBG000BLNNH6",
    1520593: "BBG000DMBXR2",
    8894: "BBG000BMX289",
    756733: "BBG000BDTBL9",
    320227571: "BBG000BSWKH7",
}
_VOLATILITY = {"NVDA": 0.45, "TSLA": 0.5, "SPY": 0.16, "QQQ": 0.2, "KO": 0.15}

# con_id, base, quote, start price, min tick, market rule
_FOREX: tuple[tuple[int, str, str, float, str, str], ...] = (
    (EUR_USD, "EUR", "USD", 1.08505, "0.00005", "239"),
    (12087797, "GBP", "USD", 1.3062, "0.00005", "239"),
    (15016059, "USD", "JPY", 151.845, "0.005", "3"),
    (12087820, "USD", "CHF", 0.8663, "0.00005", "239"),
    (15016062, "USD", "CAD", 1.3835, "0.00005", "239"),
    (14433401, "AUD", "USD", 0.6698, "0.00005", "239"),
    (12087807, "EUR", "GBP", 0.8311, "0.00005", "239"),
)

# con_id, symbol, exchange, currency, name, start price, zone, hours, volatility, min tick, market rule
_INDICES: tuple[tuple[int, str, str, str, str, float, str, str, float, str, str], ...] = (
    (SPX, "SPX", "CBOE", "USD", "S&P 500 Stock Index", 5851.2, "US/Central", "us-index", 0.15, "0.01", "26"),
    (13455763, "VIX", "CBOE", "USD", "CBOE Volatility Index", 17.35, "US/Central", "us-index", 0.9, "0.01", "26"),
    (NDX, "NDX", "NASDAQ", "USD", "NASDAQ 100 Stock Index", 20352.0, "US/Eastern", "us-index", 0.2, "0.01", "26"),
    (DAX, "DAX", "EUREX", "EUR", "DAX 40 Index", 19443.0, "MET", "xetra", 0.16, "0.01", "26"),
    (ES_INDEX, "ES", "CME", "USD", "E-mini S&P 500", 5851.25, "US/Central", "cme", 0.15, "0.25", "67"),
    (NQ_INDEX, "NQ", "CME", "USD", "E-mini NASDAQ 100", 20352.25, "US/Central", "cme", 0.2, "0.25", "67"),
    (CL_INDEX, "CL", "NYMEX", "USD", "Light Sweet Crude Oil", 71.24, "US/Eastern", "nymex", 0.35, "0.01", "26"),
)  # fmt: skip
# The indices that futures are written on show the price of these.
_SAME_AS = {ES_INDEX: SPX, NQ_INDEX: NDX}

# con_id, symbol, exchange, name, start price, min size
_COINS: tuple[tuple[int, str, str, str, float, str], ...] = (
    (479624278, "BTC", "PAXOS", "Bitcoin cryptocurrency", 68412.25, "0.00000001"),
    (495759171, "ETH", "PAXOS", "Ethereum cryptocurrency", 2518.75, "0.00000001"),
    (_OWN + 1, "BTC", "ZEROHASH", "Bitcoin cryptocurrency", 68412.25, "0.00000001"),
    (_OWN + 2, "ETH", "ZEROHASH", "Ethereum cryptocurrency", 2518.75, "0.00000001"),
)

# con_id, symbol, CUSIP, ISIN, issuer id, name, start price, bond
_BONDS: tuple[tuple[int, str, str, str, str, str, float, Bond], ...] = (
    (
        _OWN + 11, "AAPL", "037833AL4", "US037833AL42", "e1459640", "AAPL 3.85 05/04/43", 86.9,
        Bond(coupon=3.85, maturity="20430504", issue_date="20130503", ratings="Aaa/AA+",
             description="AAPL 3.85 05/04/43", callable=True, next_option_date="20430504", next_option_type="CALL"),
    ),
    (
        _OWN + 12, "AAPL", "037833BX7", "US037833BX70", "e1459640", "AAPL 4.65 02/23/46", 95.2,
        Bond(coupon=4.65, maturity="20460223", issue_date="20160223", ratings="Aaa/AA+",
             description="AAPL 4.65 02/23/46"),
    ),
    (
        _OWN + 13, "US-T", "912810TM0", "US912810TM09", "e1407821", "US-T 4 11/15/52", 91.4,
        Bond(coupon=4.0, maturity="20521115", issue_date="20221115", bond_type="GOVT",
             ratings="Aaa/AA+", description="US-T 4 11/15/52 Govt"),
    ),
)  # fmt: skip

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
        isin="CA7800871021", liquid_session="0930-1600", trading_session="0930-1600", hours="tsx",
    ),
    Instrument(
        con_id=152791428, symbol="700", sec_type="STK", exchange="SEHK", currency="HKD", primary_exchange="SEHK",
        local_symbol="700", trading_class="700", market_name="700", long_name="TENCENT HOLDINGS LTD", min_tick="0.2",
        start_price=443.8, valid_exchanges="SMART,SEHK", industry="Communications", stock_type="COMMON",
        isin="KYG875721634", time_zone_id="Asia/Hong_Kong", trading_session="0930-1600", liquid_session="0930-1600",
        hours="sehk", market_rule_ids="2201", list_date="20040616",
    ),
    Instrument(
        con_id=14094, symbol="BMW", sec_type="STK", exchange="SMART", currency="EUR", primary_exchange="IBIS",
        local_symbol="BMW", trading_class="XETRA", market_name="XETRA", long_name="BAYERISCHE MOTOREN WERKE, München",
        min_tick="0.02", start_price=75.3, valid_exchanges="SMART,IBIS,FWB,SWB,GETTEX", stock_type="COMMON",
        isin="DE0005190003", time_zone_id="MET", trading_session="0900-1730", liquid_session="0900-1730", lot=1,
        hours="xetra", market_rule_ids="2202",
    ),
)  # fmt: skip


def listed_instruments() -> list[Instrument]:
    """All of them."""
    stocks = [_us_stock(*row) for row in _US_STOCKS]
    pairs = [_forex(*row) for row in _FOREX]
    coins = [_coin(*row) for row in _COINS]
    indices = [_index(*row) for row in _INDICES]
    bonds = [_bond(*row) for row in _BONDS]
    tests = [_test_stock(number) for number in range(TEST_STOCKS)]
    return [*stocks, *pairs, *_FOREIGN, *coins, *indices, *bonds, *_others(stocks, pairs), *tests]


def _us_stock(
    con_id: int, symbol: str, primary: str, name: str, price: float, trading_class: str,
    stock_type: str, isin: str, industry: str, fractional: bool,
) -> Instrument:  # fmt: skip
    return Instrument(
        con_id=con_id, symbol=symbol, sec_type="STK", exchange="SMART", currency="USD", primary_exchange=primary,
        local_symbol=symbol, trading_class=trading_class, market_name=trading_class, long_name=name,
        start_price=price, valid_exchanges=_US_VENUES, industry=industry, stock_type=stock_type, isin=isin,
        min_size="0.0001" if fractional else "1", size_increment="0.0001" if fractional else "1", fractional=fractional,
        cusip=isin[2:11], figi=_FIGIS[con_id], volatility=_VOLATILITY.get(symbol, 0.25),
    )  # fmt: skip


def _forex(con_id: int, base: str, quote: str, price: float, min_tick: str, rule: str) -> Instrument:
    return Instrument(
        con_id=con_id, symbol=base, sec_type="CASH", exchange="IDEALPRO", currency=quote,
        local_symbol=f"{base}.{quote}", trading_class=f"{base}.{quote}", market_name=f"{base}.{quote}",
        long_name=f"{base}/{quote} spot", min_tick=min_tick, start_price=price, valid_exchanges="IDEALPRO",
        order_types=_FOREX_ORDER_TYPES, trading_session="1715-1700", liquid_session="1715-1700", agg_group=4,
        market_rule_ids=rule, min_size="0.01", size_increment="0.01", suggested_size_increment="1", trades=False,
        lot=100000, hours="forex", volatility=0.07, list_date="20050309",
    )  # fmt: skip


def _index(
    con_id: int, symbol: str, exchange: str, currency: str, name: str, price: float, zone: str, hours: str,
    volatility: float, min_tick: str, rule: str,
) -> Instrument:  # fmt: skip
    same_as = _SAME_AS.get(con_id, 0)
    return Instrument(
        con_id=con_id, symbol=symbol, sec_type="IND", exchange=exchange, currency=currency, local_symbol=symbol,
        trading_class=symbol, market_name=symbol, long_name=name, start_price=price, valid_exchanges=exchange,
        min_tick=min_tick, market_rule_ids=rule, order_types="", time_zone_id=zone, hours=hours, industry="Indices",
        trading_session="0830-1500", liquid_session="0830-1500", volatility=volatility, agg_group=2**31 - 1,
        quotes=False, sized=False, has_depth=False, price_model="same" if same_as else "own", price_con_id=same_as,
    )  # fmt: skip


def _coin(con_id: int, symbol: str, exchange: str, name: str, price: float, min_size: str) -> Instrument:
    pair = f"{symbol}.USD"
    return Instrument(
        con_id=con_id, symbol=symbol, sec_type="CRYPTO", exchange=exchange, currency="USD", local_symbol=pair,
        trading_class=symbol, market_name=symbol, long_name=name, start_price=price, valid_exchanges=exchange,
        min_tick="0.25" if symbol == "BTC" else "0.01", market_rule_ids="67" if symbol == "BTC" else "26",
        order_types="ALERT,LMT,MKT", time_zone_id="US/Eastern", trading_session="0000-2400", min_size=min_size,
        liquid_session="0000-2400", size_increment=min_size, suggested_size_increment=min_size, fractional=True,
        hours="crypto", volatility=0.6, lot=1, has_depth=False, list_date="20210901",
    )  # fmt: skip


def _bond(
    con_id: int, symbol: str, cusip: str, isin: str, issuer_id: str, name: str, price: float, bond: Bond
) -> Instrument:
    return Instrument(
        con_id=con_id, symbol=symbol, sec_type="BOND", exchange="SMART", currency="USD", local_symbol=f"IBCID{con_id}",
        trading_class=symbol, market_name=symbol, long_name=name, start_price=price, valid_exchanges="SMART",
        order_types="ALERT,LMT,MKT", min_tick="0.001", market_rule_ids="1001", time_zone_id="US/Eastern",
        trading_session="0800-1700", liquid_session="0800-1700", hours="us-bond", volatility=0.08, min_size="1000",
        size_increment="1000", suggested_size_increment="1000", lot=1000, isin=isin, cusip=cusip, issuer_id=issuer_id,
        bond=bond, expiry=bond.maturity, has_depth=False, list_date=bond.issue_date,
    )  # fmt: skip


def _test_stock(number: int) -> Instrument:
    symbol = f"SIM{number:03d}"
    return Instrument(
        con_id=FIRST_TEST_CON_ID + number, symbol=symbol, sec_type="STK", exchange="SMART", currency="USD",
        primary_exchange="NASDAQ", local_symbol=symbol, trading_class="SIM", market_name="SIM",
        long_name=f"SIMULATED STOCK {number:03d}", min_tick=("0.01", "0.0001", "0.05", "0.5")[number % 4],
        start_price=10.0 + number, valid_exchanges="SMART,NASDAQ", stock_type="COMMON",
        isin=f"XS{number:010d}", fractional=number % 5 == 1, size_increment="0.0001" if number % 5 == 1 else "1",
        min_size="0.0001" if number % 5 == 1 else "1", market_rule_ids=("26", "240", "109", "110")[number % 4],
    )  # fmt: skip


def _others(stocks: list[Instrument], pairs: list[Instrument]) -> list[Instrument]:
    """One or two of each rarer type."""
    gold = Instrument(
        con_id=GOLD, symbol="XAUUSD", sec_type="CMDTY", exchange="SMART", currency="USD", local_symbol="XAUUSD",
        trading_class="XAUUSD", market_name="XAUUSD", long_name="London Gold", start_price=2735.4,
        valid_exchanges="SMART,IBMETAL", order_types="LMT,MKT,STP", trading_session="1800-1700", hours="metals",
        liquid_session="1800-1700", trades=False, lot=1, volatility=0.15, has_depth=False, list_date="20100104",
    )  # fmt: skip
    index_cfd = Instrument(
        con_id=111987422, symbol="IBUS500", sec_type="CFD", exchange="SMART", currency="USD", local_symbol="IBUS500",
        trading_class="IBUS500", market_name="IBUS500", long_name="US 500", start_price=5851.2,
        valid_exchanges="SMART", order_types="LMT,MKT,STP", trading_session="1800-1700", liquid_session="0930-1600",
        trades=False, lot=1, hours="cme", volatility=0.15, price_model="same", price_con_id=SPX, has_depth=False,
        ineligibility=(("PERM", "No trading permission for CFD"),),
    )  # fmt: skip
    fund = Instrument(
        con_id=_OWN + 21, symbol="VINIX", sec_type="FUND", exchange="FUNDSERV", currency="USD", local_symbol="VINIX",
        trading_class="VINIX", market_name="VINIX", long_name="Vanguard Institutional Index Fund Institutional Shares",
        start_price=474.3, valid_exchanges="FUNDSERV", order_types="MKT", isin="US9229401007", lot=1, trades=False,
        trading_session="0930-1600", hours="us-fund", volatility=0.15, has_depth=False, min_size="0.001",
        size_increment="0.001", suggested_size_increment="0.001", fractional=True,
        fund=Fund(name="Vanguard Institutional Index Fund", family="Vanguard"),
    )  # fmt: skip
    cfds = [_cfd(_OWN + 31, stocks[0]), _cfd(_OWN + 32, stocks[7]), _cfd(143916318, pairs[0])]
    return [gold, index_cfd, fund, *_news_feeds(), *cfds]


def _news_feeds() -> list[Instrument]:
    """All headlines of a provider, as instruments of its own. Source: IBKR, TWS API, "BroadTape News"."""
    return [
        Instrument(
            con_id=_OWN + 41 + number, symbol=f"{code}:{code}_ALL", sec_type="NEWS", exchange=code, currency="USD",
            local_symbol=f"{code}:{code}_ALL", trading_class="", market_name="", long_name=name, start_price=1.0,
            valid_exchanges=code, trades=False, has_depth=False,
        )
        for number, (code, name) in enumerate(PROVIDERS)
    ]  # fmt: skip


def _cfd(con_id: int, under: Instrument) -> Instrument:
    """A CFD, whose market data IB sends the client to the underlying for."""
    return Instrument(
        con_id=con_id, symbol=under.symbol, sec_type="CFD", exchange="SMART", currency=under.currency,
        local_symbol=f"{under.symbol}n" if under.sec_type == "STK" else under.local_symbol,
        trading_class=under.symbol, market_name=under.symbol, long_name=under.long_name, min_tick=under.min_tick,
        start_price=under.start_price, valid_exchanges="SMART", order_types=under.order_types,
        trading_session=under.trading_session, liquid_session=under.liquid_session, hours=under.hours,
        time_zone_id=under.time_zone_id, market_rule_ids=under.market_rule_ids, trades=False, lot=under.lot,
        underlying_con_id=under.con_id, under_symbol=under.symbol, under_sec_type=under.sec_type,
        volatility=under.volatility, price_model="same", price_con_id=under.con_id, min_size=under.min_size,
        size_increment=under.size_increment, suggested_size_increment=under.suggested_size_increment,
        carry_rate=RATE,
    )  # fmt: skip
