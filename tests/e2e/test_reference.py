"""One-off questions end to end: the answers are the simulator's own data, as text and as protobuf."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ibkr_actor.schema.commands import AnyCommand, Snapshot
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.records import News
from ibkr_actor.schema.reference_commands import (
    CalcIv,
    CalcPrice,
    DepthExchanges,
    MarketRule,
    NewsArticle,
    NewsHeadlines,
    NewsProviders,
    OptionParams,
    Scan,
    ScannerParams,
    SmartComponents,
)
from ibkr_actor.sim import Simulator, SimulatorSettings
from ibkr_actor.sim.market import news
from ibkr_actor.sim.market.venues import DEPTH_EXCHANGES, MARKET_RULES, SMART_COMPONENTS
from ibkr_actor.sim.messages import TickNews
from tests.e2e.kit import House, clock_of, running_house, running_redis

pytestmark = pytest.mark.anyio

START_S = 1_783_080_000.0
OPTION = InstrumentQuery(
    symbol="AAPL", sec_type="OPT", exchange="SMART", currency="USD", last_trade_date="20261218", strike=230.0, right="C"
)


@pytest.fixture(params=[173, 226])
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    settings = SimulatorSettings(
        server_version=request.param, snapshot_s=0.1, market_hours="always", start_time_s=START_S
    )
    async with Simulator(settings) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port, clock=clock_of(sim)) as it:
        yield it


async def result(house: House, command: AnyCommand) -> dict[str, Any]:
    reply = await house.call(command)
    assert reply.status == "result", reply
    assert isinstance(reply.result, dict)
    return reply.result


async def code(house: House, command: AnyCommand) -> str:
    reply = await house.call(command)
    assert reply.error is not None, reply
    return reply.error.code


async def test_option_parameters_are_those_of_the_market(house: House, sim: Simulator) -> None:
    found = await result(house, OptionParams(instrument="AAPL"))
    assert found["underlying_con_id"] == 265598
    row = next(row for row in found["rows"] if row["exchange"] == "SMART")
    assert (row["trading_class"], row["multiplier"]) == ("AAPL", "100")
    assert "20261218" in row["expirations"]
    assert 230.0 in row["strikes"]
    assert row["strikes"] == sorted(row["strikes"])
    # A future's options are asked for with their exchange; what has none is an empty answer, or refused.
    future = await result(house, OptionParams(instrument="ES.FUT.CME.USD.20261218.ES"))
    assert {row["exchange"] for row in future["rows"]} == {"CME"}
    assert (await result(house, OptionParams(instrument="BMW.STK.IBIS.EUR")))["rows"] == []
    assert await code(house, OptionParams(instrument="XAUUSD.CMDTY.SMART.USD")) == "validation_error"
    assert not sim.violations


async def test_volatility_and_price_are_computed_from_each_other(house: House, sim: Simulator) -> None:
    price = await result(house, CalcPrice(instrument=OPTION, volatility=0.3, underlying_price=227.5))
    assert price["instrument"] == "AAPL.OPT.SMART.USD.20261218.C.230.AAPL"
    assert price["implied_vol"] == 0.3
    assert 0 < price["delta"] < 1
    back = await result(house, CalcIv(instrument=OPTION, option_price=price["option_price"], underlying_price=227.5))
    assert back["implied_vol"] == pytest.approx(0.3, abs=1e-3)
    # A price that no volatility gives is answered with what is not known.
    nothing = await result(house, CalcIv(instrument=OPTION, option_price=500.0, underlying_price=227.5))
    assert nothing["implied_vol"] is None
    assert nothing["delta"] is None
    assert await code(house, CalcIv(instrument="AAPL", option_price=1.0, underlying_price=2.0)) == "unsupported"
    assert await code(house, CalcPrice(instrument=OPTION, volatility=0.0, underlying_price=2.0)) == "validation_error"
    assert not sim.violations


async def test_rules_letters_and_exchanges_are_those_of_the_market(house: House, sim: Simulator) -> None:
    rule_id, increments = next(iter(MARKET_RULES.items()))
    rule = await result(house, MarketRule(rule_id=rule_id))
    wanted = [(float(each.low_edge), float(each.increment)) for each in increments]
    assert [(row["low_edge"], row["increment"]) for row in rule["increments"]] == wanted
    # Refused by IB without a req_id.
    assert await code(house, MarketRule(rule_id=987_654)) == "validation_error"
    place = (await result(house, Snapshot(instrument="AAPL")))["bbo_exchange"]
    letters = await result(house, SmartComponents(bbo_exchange=place))
    assert letters["bbo_exchange"] == place
    assert [(row["letter"], row["exchange"]) for row in letters["components"]] == [
        (each.exchange_letter, each.exchange) for each in sorted(SMART_COMPONENTS[place])
    ]
    assert await code(house, SmartComponents(bbo_exchange="no such")) == "validation_error"
    exchanges = (await result(house, DepthExchanges()))["exchanges"]
    assert [(row["exchange"], row["sec_type"]) for row in exchanges] == [
        (each.exchange, each.sec_type) for each in DEPTH_EXCHANGES
    ]
    assert not sim.violations


async def test_news_are_those_of_the_market(house: House, sim: Simulator) -> None:
    providers = (await result(house, NewsProviders()))["providers"]
    assert [(row["code"], row["name"]) for row in providers] == list(news.PROVIDERS)
    codes = [row["code"] for row in providers]
    wish = NewsHeadlines(instrument="AAPL", providers=codes, start="2026-06-01", count=5)
    found = await result(house, wish)
    times = [int(row["time_ns"]) for row in found["headlines"]]
    assert len(times) == 5
    assert times == sorted(times, reverse=True)
    assert found["has_more"] is True
    first = found["headlines"][0]
    article = await result(house, NewsArticle(provider=first["provider"], article_id=first["article_id"]))
    assert article == {"article_type": 0, "text": news.article(first["provider"], first["article_id"])}
    assert await code(house, NewsHeadlines(instrument="AAPL", providers=[])) == "validation_error"
    assert await code(house, NewsHeadlines(instrument="AAPL", providers=codes, start="soon")) == "validation_error"
    assert not sim.violations


async def test_headlines_stream_as_they_come(house: House, sim: Simulator) -> None:
    (key,) = await house.subscribe("AAPL", "news")
    await house.reply("test", lambda reply: reply.status == "active")
    coming = TickNews(
        time=1_783_080_001_000,
        provider_code="BRFG",
        article_id="BRFG$1",
        headline="Äpfel, up 3 % | sold",
        extra_data="K:n/a",
    )
    assert sim.emit("AAPL", coming) == 1
    records = await house.until(key, lambda found: any(isinstance(record, News) for record in found))
    (record,) = [record for record in records if isinstance(record, News)]
    assert (record.provider, record.article_id, record.headline) == ("BRFG", "BRFG$1", "Äpfel, up 3 % | sold")
    assert (record.source_ns, record.con_id, record.extra) == (1_783_080_001_000_000_000, 265598, "K:n/a")
    assert not sim.violations


async def test_a_scan_ranks_and_leaves_nothing_open(house: House, sim: Simulator) -> None:
    xml = (await result(house, ScannerParams()))["xml"]
    assert "<scanCode>TOP_PERC_GAIN</scanCode>" in xml
    rows = (await result(house, Scan(scan_code="TOP_PERC_GAIN", rows=5, above_price=100.0)))["rows"]
    assert [row["rank"] for row in rows] == [0, 1, 2, 3, 4]
    assert all(row["con_id"] > 0 and row["sec_type"] == "STK" for row in rows)
    # Scans are taken back when they have answered: more of them than IB has room for can be asked one by one.
    for _ in range(12):
        await result(house, Scan(scan_code="MOST_ACTIVE", rows=1))
    assert (await house.call(Scan(scan_code="NO_SUCH_SCAN"))).error is not None
    assert await code(house, Scan(scan_code="MOST_ACTIVE", rows=51)) == "validation_error"
    assert not sim.violations
