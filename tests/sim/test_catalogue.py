"""Owns the proof that what a client writes finds the instruments a gateway would find, on the day it is.

Must not open a socket.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from ibkr_actor.sim.market import chains, futures
from ibkr_actor.sim.market.calendar import hours_of
from ibkr_actor.sim.market.catalogue import Catalogue, default_catalogue
from ibkr_actor.sim.market.expiries import third_friday
from ibkr_actor.sim.market.instruments import ContractSpec, Instrument, Leg
from ibkr_actor.sim.market.venues import MARKET_RULES

# A Sunday; Thanksgiving is on the 26th.
TODAY = datetime.date(2026, 11, 22)
CATALOGUE = default_catalogue(lambda: TODAY)


def like(**spec: Any) -> ContractSpec:
    return ContractSpec(**spec)


def found(**spec: Any) -> list[str]:
    """The local symbols of what a description fits."""
    return [each.local_symbol for each in CATALOGUE.match(like(**spec))]


def on(day: datetime.date) -> Catalogue:
    return default_catalogue(lambda: day)


def test_a_future_is_found_by_month_by_day_and_by_local_symbol() -> None:
    es = {"symbol": "ES", "sec_type": "FUT", "exchange": "CME"}
    assert found(**es, last_trade_date_or_contract_month="202612") == ["ESZ6"]
    assert found(**es, last_trade_date_or_contract_month="20261218") == ["ESZ6"]
    assert found(**es, last_trade_date_or_contract_month="20261218 08:30:00 US/Central") == ["ESZ6"]
    assert found(**es, last_trade_date_or_contract_month="20261217") == []
    assert found(**es, last_trade_date_or_contract_month="2026") == []
    assert found(sec_type="FUT", local_symbol="ESZ6", exchange="CME") == ["ESZ6"]
    assert found(**es) == ["ESZ6", "ESH7", "ESM7", "ESU7", "ESZ7"]


def test_the_month_of_an_energy_future_is_not_the_month_it_ends_in() -> None:
    cl = {"symbol": "CL", "sec_type": "FUT", "exchange": "NYMEX"}
    assert found(**cl, last_trade_date_or_contract_month="202701") == ["CLF7"]
    (january,) = CATALOGUE.match(like(**cl, last_trade_date_or_contract_month="202701"))
    assert january.expiry == "20261221"
    assert found(**cl, last_trade_date_or_contract_month="20261221") == ["CLF7"]


def test_futures_of_one_symbol_are_told_apart_by_multiplier_or_class() -> None:
    dax = {"symbol": "DAX", "sec_type": "FUT", "exchange": "EUREX", "last_trade_date_or_contract_month": "202612"}
    assert found(**dax) == ["FDAX 20261218 M", "FDXM 20261218 M", "FDXS 20261218 M"]
    assert found(**dax, multiplier="5") == ["FDXM 20261218 M"]
    assert found(**dax, multiplier="25.0") == ["FDAX 20261218 M"]
    assert found(**dax, trading_class="FDXS") == ["FDXS 20261218 M"]


def test_expired_futures_are_found_only_when_asked_for_and_for_two_years() -> None:
    es = {"symbol": "ES", "sec_type": "FUT", "exchange": "CME"}
    assert found(**es, last_trade_date_or_contract_month="202609") == []
    assert found(**es, last_trade_date_or_contract_month="202609", include_expired=True) == ["ESU6"]
    assert found(**es, last_trade_date_or_contract_month="202409", include_expired=True) == []
    (expired,) = CATALOGUE.match(like(**es, last_trade_date_or_contract_month="202609", include_expired=True))
    assert found(con_id=expired.con_id) == []
    assert found(con_id=expired.con_id, include_expired=True) == ["ESU6"]


def test_what_ends_today_is_still_there_and_gone_tomorrow() -> None:
    es = ContractSpec(symbol="ES", sec_type="FUT", exchange="CME", last_trade_date_or_contract_month="202612")
    assert on(datetime.date(2026, 12, 18)).match(es)
    assert not on(datetime.date(2026, 12, 19)).match(es)


@pytest.mark.parametrize("year", [2015, 2023, 2026, 2035])
def test_there_is_always_a_front_month_and_a_chain(year: int) -> None:
    for month in range(1, 13):
        catalogue = on(datetime.date(year, month, 28))
        assert catalogue.match(ContractSpec(symbol="ES", sec_type="FUT", exchange="CME"), 1)
        assert catalogue.match(ContractSpec(symbol="CL", sec_type="CONTFUT", exchange="NYMEX"), 1)
        assert catalogue.match(ContractSpec(symbol="AAPL", sec_type="OPT", exchange="SMART"), 1)
        assert catalogue.match(ContractSpec(symbol="ES", sec_type="FOP", exchange="CME"), 1)


def test_con_ids_mean_the_same_contract_whatever_the_day() -> None:
    here, later = CATALOGUE, on(datetime.date(2031, 3, 3))
    for spec in (
        ContractSpec(symbol="ES", sec_type="FUT"),
        ContractSpec(symbol="GC", sec_type="FUT"),
        ContractSpec(symbol="AAPL", sec_type="OPT", last_trade_date_or_contract_month="202612"),
        ContractSpec(symbol="SPX", sec_type="OPT", last_trade_date_or_contract_month="202701", right="P"),
        ContractSpec(symbol="ES", sec_type="FOP", strike=5900.0),
        ContractSpec(symbol="BMW", sec_type="WAR"),
    ):
        for each in here.match(spec):
            assert here.instrument(each.con_id) == each
            assert later.instrument(each.con_id) == each


def test_all_con_ids_differ_and_fit_into_a_protobuf() -> None:
    everything = [each.con_id for each in CATALOGUE.all()]
    for number in range(len(futures.ROOTS)):
        everything += [each.con_id for each in futures.listed(number, TODAY, expired=True)]
        everything.append(futures.continuous(number, TODAY).con_id)
    for number in range(len(chains.ROOTS)):
        everything += [each.con_id for each in chains.listed(number, TODAY)]
    assert len(everything) > 50_000
    assert len(set(everything)) == len(everything)
    assert min(everything) > 0
    assert max(everything) < 2**31


@pytest.mark.parametrize("con_id", [1, 999_999_999, 1_000_000_001, 2_079_999_999, 2_080_000_001, 2_147_483_647])
def test_a_con_id_that_means_nothing_is_not_found(con_id: int) -> None:
    with pytest.raises(KeyError):
        CATALOGUE.instrument(con_id)
    assert found(con_id=con_id) == []


def test_a_continuous_future_shows_its_front_month_and_rolls_before_it_ends() -> None:
    spec = ContractSpec(symbol="ES", sec_type="CONTFUT", exchange="CME")
    (before,) = on(datetime.date(2026, 12, 9)).match(spec)
    (after,) = on(datetime.date(2026, 12, 10)).match(spec)
    assert (before.local_symbol, after.local_symbol) == ("ESZ6", "ESH7")
    assert before.con_id == after.con_id
    (front,) = CATALOGUE.match(ContractSpec(local_symbol="ESZ6", sec_type="FUT"))
    assert before.shown_con_id == front.con_id
    assert CATALOGUE.front(before, datetime.date(2026, 12, 9)) == front
    assert CATALOGUE.match(ContractSpec(con_id=front.con_id, sec_type="CONTFUT")) == [before]
    assert CATALOGUE.match(ContractSpec(con_id=front.con_id)) == [front]
    assert found(con_id=before.con_id) == []


def test_a_future_and_its_continuous_one_are_found_together_when_asked_for_so() -> None:
    both = CATALOGUE.match(ContractSpec(symbol="NQ", sec_type="FUT+CONTFUT", exchange="CME"), 2)
    assert [each.sec_type for each in both] == ["CONTFUT", "FUT"]


def test_an_option_is_found_whole_or_in_part() -> None:
    whole = {"symbol": "AAPL", "sec_type": "OPT", "exchange": "SMART", "strike": 230.0, "right": "C"}
    assert found(**whole, last_trade_date_or_contract_month="20261218") == ["AAPL  261218C00230000"]
    assert found(**(whole | {"right": "CALL"}), last_trade_date_or_contract_month="20261218", currency="USD")
    assert found(local_symbol="AAPL  261218C00230000", sec_type="OPT") == ["AAPL  261218C00230000"]
    assert found(local_symbol="AAPL 261218C00230000", sec_type="OPT") == ["AAPL  261218C00230000"]
    december = found(**whole, last_trade_date_or_contract_month="202612")
    assert [each[6:12] for each in december] == ["261204", "261211", "261218", "261224", "261231"]
    both = found(**(whole | {"right": ""}), last_trade_date_or_contract_month="20261218")
    assert both == ["AAPL  261218C00230000", "AAPL  261218P00230000"]
    assert len(found(symbol="AAPL", sec_type="OPT", exchange="SMART")) > 2_000
    assert found(**(whole | {"strike": 230.01}), last_trade_date_or_contract_month="20261218") == []
    assert found(**(whole | {"exchange": "CME"}), last_trade_date_or_contract_month="20261218") == []
    assert found(**(whole | {"right": "X"}), last_trade_date_or_contract_month="20261218") == []


def test_index_options_have_a_morning_and_an_evening_class() -> None:
    spec = {"symbol": "SPX", "sec_type": "OPT", "exchange": "SMART", "strike": 5900.0, "right": "P"}
    # What is settled on Friday morning trades for the last time on Thursday, and is found by either day.
    assert found(**spec, last_trade_date_or_contract_month="20261217", trading_class="SPX") == ["SPX   261218P05900000"]
    assert found(**spec, last_trade_date_or_contract_month="20261218") == [
        "SPX   261218P05900000",
        "SPXW  261218P05900000",
    ]


def test_long_options_end_in_january_and_are_listed_for_two_years() -> None:
    days = chains.expiries(0, datetime.date(2023, 11, 14))
    assert days[-2:] == [datetime.date(2025, 1, 17), datetime.date(2026, 1, 16)]
    assert datetime.date(2026, 1, 16) not in chains.expiries(0, datetime.date(2023, 10, 31))


def test_weeklies_move_to_the_day_before_a_holiday() -> None:
    days = chains.expiries(0, datetime.date(2027, 3, 1))
    # Good Friday is 26 March 2027.
    assert datetime.date(2027, 3, 25) in days
    assert datetime.date(2027, 3, 26) not in days
    assert third_friday(2025, 4) == datetime.date(2025, 4, 17)


def test_an_option_on_a_future_names_the_future_it_turns_into() -> None:
    (option,) = CATALOGUE.match(
        ContractSpec(
            symbol="ES", sec_type="FOP", strike=5900.0, right="C", last_trade_date_or_contract_month="20270115"
        )
    )
    assert (option.trading_class, option.local_symbol, option.multiplier) == ("EW3", "EW3F7 C5900", "50")
    assert CATALOGUE.instrument(option.underlying_con_id).local_symbol == "ESH7"
    assert option.under_symbol == "ESH7"


def test_the_outline_of_a_chain_holds_every_expiry_and_strike_of_it() -> None:
    rows = CATALOGUE.option_parameters(265598)
    assert {row.exchange for row in rows} >= {"SMART", "CBOE", "ISE"}
    chain = CATALOGUE.match(ContractSpec(symbol="AAPL", sec_type="OPT"))
    assert set(rows[0].expirations) == {each.expiry for each in chain}
    assert set(rows[0].strikes) == {each.strike for each in chain}
    assert (rows[0].underlying_con_id, rows[0].trading_class, rows[0].multiplier) == (265598, "AAPL", "100")
    assert [row.trading_class for row in CATALOGUE.option_parameters(416904) if row.exchange == "CBOE"] == [
        "SPX",
        "SPXW",
    ]
    assert CATALOGUE.option_parameters(12087792) == []


def test_the_outline_of_options_on_a_future_is_that_of_its_month() -> None:
    december, march = (
        CATALOGUE.match(ContractSpec(local_symbol=local, sec_type="FUT"))[0].con_id for local in ("ESZ6", "ESH7")
    )
    of_december = CATALOGUE.option_parameters(december, "CME")
    assert max(day for row in of_december for day in row.expirations) == "20261218"
    assert min(day for row in CATALOGUE.option_parameters(march, "CME") for day in row.expirations) > "20261218"
    assert CATALOGUE.option_parameters(december, "NYMEX") == []
    # The index future's own index stands for all months.
    everything = {day for row in CATALOGUE.option_parameters(11004968) for day in row.expirations}
    assert everything > {day for row in of_december for day in row.expirations}


@pytest.mark.parametrize(
    ("sec_id_type", "sec_id", "symbols"),
    [
        ("ISIN", "US0378331005", ["AAPL"]),
        ("CUSIP", "037833100", ["AAPL"]),
        ("FIGI", "BBG000B9XRY4", ["AAPL"]),
        ("ISIN", "CA7800871021", ["RY", "RY"]),
        ("CUSIP", "037833AL4", ["AAPL"]),
        ("ISIN", "US0000000000", []),
        ("RIC", "AAPL.O", []),
    ],
)
def test_other_ids_find_what_they_name(sec_id_type: str, sec_id: str, symbols: list[str]) -> None:
    matched = CATALOGUE.match(ContractSpec(sec_id_type=sec_id_type, sec_id=sec_id))
    assert [each.symbol for each in matched] == symbols


def test_a_bond_is_found_by_cusip_by_isin_and_by_issuer() -> None:
    by_cusip = CATALOGUE.match(ContractSpec(symbol="037833AL4", sec_type="BOND", exchange="SMART", currency="USD"))
    assert [each.long_name for each in by_cusip] == ["AAPL 3.85 05/04/43"]
    assert CATALOGUE.match(ContractSpec(symbol="US037833AL42", sec_type="BOND")) == by_cusip
    of_issuer = CATALOGUE.match(ContractSpec(sec_type="BOND", issuer_id="e1459640"))
    assert len(of_issuer) == 2
    assert not on(datetime.date(2043, 5, 5)).match(ContractSpec(symbol="037833AL4", sec_type="BOND"))


@pytest.mark.parametrize(
    ("spec", "keys"),
    [
        ({"symbol": "EUR", "sec_type": "CASH", "currency": "USD"}, ["EUR.CASH.IDEALPRO.USD"]),
        ({"symbol": "EUR", "sec_type": "CASH"}, ["EUR.CASH.IDEALPRO.USD", "EUR.CASH.IDEALPRO.GBP"]),
        ({"local_symbol": "EUR.USD", "sec_type": "CASH"}, ["EUR.CASH.IDEALPRO.USD"]),
        ({"symbol": "USD", "sec_type": "CASH", "currency": "EUR"}, []),
        ({"symbol": "EUR", "sec_type": "CASH", "currency": "USD", "exchange": "SMART"}, []),
        ({"symbol": "AAPL", "sec_type": "STK", "currency": "CAD"}, []),
        ({"symbol": "AAPL", "sec_type": "STK", "exchange": "SEHK"}, []),
        ({"symbol": "BTC", "sec_type": "CRYPTO"}, ["BTC.CRYPTO.PAXOS.USD", "BTC.CRYPTO.ZEROHASH.USD"]),
        ({"symbol": "BTC", "sec_type": "CRYPTO", "exchange": "PAXOS"}, ["BTC.CRYPTO.PAXOS.USD"]),
        ({"symbol": "XAUUSD", "sec_type": "CMDTY", "exchange": "SMART"}, ["XAUUSD.CMDTY.SMART.USD"]),
        ({"symbol": "SPX", "sec_type": "IND", "exchange": "CBOE"}, ["SPX.IND.CBOE.USD"]),
        ({"symbol": "AAPL", "sec_type": "CFD", "exchange": "SMART"}, ["AAPL.CFD.SMART.USD"]),
        ({"symbol": "VINIX", "sec_type": "FUND", "exchange": "FUNDSERV"}, ["VINIX.FUND.FUNDSERV.USD"]),
        ({"con_id": 265598, "symbol": "MSFT"}, ["AAPL.STK.SMART.USD"]),
        ({"con_id": 265598, "exchange": "CME"}, []),
        ({"sec_type": "STK"}, []),
    ],
)  # fmt: skip
def test_every_other_type_is_found_as_it_is_written(spec: dict[str, Any], keys: list[str]) -> None:
    assert sorted(each.key for each in CATALOGUE.match(like(**spec))) == sorted(keys)


def test_a_combination_is_the_legs_that_exist() -> None:
    legs = (Leg(con_id=265598, ratio=1, action="BUY"), Leg(con_id=272093, ratio=2, action="SELL"))
    spec = ContractSpec(symbol="AAPL,MSFT", sec_type="BAG", exchange="SMART", currency="USD", legs=legs)
    (bag,) = CATALOGUE.match(spec)
    assert (bag.legs, bag.price_model, bag.sec_type, bag.exchange) == (legs, "legs", "BAG", "SMART")
    other = ContractSpec(symbol="AAPL,MSFT", sec_type="BAG", exchange="SMART", currency="USD", legs=legs[::-1])
    assert CATALOGUE.match(other)[0].con_id == bag.con_id
    assert not CATALOGUE.match(ContractSpec(symbol="X", sec_type="BAG", exchange="SMART", legs=()))
    assert not CATALOGUE.match(
        ContractSpec(symbol="X", sec_type="BAG", legs=(Leg(con_id=1, ratio=1, action="BUY"), legs[0]))
    )


def test_matches_stop_where_they_are_told_to() -> None:
    assert len(CATALOGUE.match(ContractSpec(symbol="SPY", sec_type="OPT"), at_most=2)) == 2


def test_keys_name_every_instrument_and_find_it_again() -> None:
    some = [each for each in CATALOGUE.all() if not each.symbol.startswith("SIM")]
    some += CATALOGUE.match(ContractSpec(symbol="ES", sec_type="FUT"))
    some += CATALOGUE.match(ContractSpec(symbol="IBM", sec_type="OPT", last_trade_date_or_contract_month="202612"))
    some += CATALOGUE.match(ContractSpec(symbol="ES", sec_type="CONTFUT"))
    assert len({each.key for each in some}) == len(some)
    assert [CATALOGUE.find(each.key) for each in some] == some
    assert CATALOGUE.find("ESZ6").sec_type == "FUT"
    with pytest.raises(KeyError):
        CATALOGUE.find("ES.FUT.CME.USD.20261219.ES")


def test_prices_are_made_from_instruments_that_exist() -> None:
    def sources(each: Instrument) -> list[Instrument]:
        if not each.price_con_id:
            return [each]
        return [each, *sources(CATALOGUE.instrument(each.price_con_id))]

    (option,) = CATALOGUE.match(ContractSpec(local_symbol="EW3F7 C5900", sec_type="FOP"))
    assert [each.sec_type for each in sources(option)] == ["FOP", "FUT", "IND"]
    for each in (*CATALOGUE.all(), *CATALOGUE.match(ContractSpec(symbol="GC", sec_type="FUT"))):
        assert sources(each)[-1].price_model == "own"
        assert (each.price_model == "own") == (each.price_con_id == 0)


def _kinds() -> list[Instrument]:
    kinds = [each for each in CATALOGUE.all() if each.con_id < 900_000_000 or each.con_id > 900_000_010]
    listed: list[Callable[[int], Any]] = [
        lambda number: futures.listed(number, TODAY),
        lambda number: [futures.continuous(number, TODAY)],
    ]
    kinds += [next(iter(each(number))) for number in range(len(futures.ROOTS)) for each in listed]
    return kinds + [next(chains.listed(number, TODAY)) for number in range(len(chains.ROOTS))]


def test_hours_and_market_rules_are_known_and_agree_with_the_min_tick() -> None:
    for each in _kinds():
        hours_of(each)
        increments = MARKET_RULES[int(each.market_rule_ids)]
        at_price = [row.increment for row in increments if row.low_edge <= each.start_price][-1]
        assert at_price == pytest.approx(float(each.min_tick)), each.key


def test_samples_begin_with_the_pattern_or_hold_it_in_the_name() -> None:
    assert [each.symbol for each in CATALOGUE.samples("SP")][:2] == ["SPY", "SPX"]
    assert CATALOGUE.samples("alphabet")[0].symbol == "GOOG"
    assert CATALOGUE.samples(" ") == ()
    assert len(CATALOGUE.samples("SIM")) == 16
