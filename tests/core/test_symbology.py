"""Instruments by other names: identifiers, a stock with its exchange, combinations by their legs and by their id."""

from __future__ import annotations

import pytest
from msgspec import structs

from ibkr_actor.core.effects import Effect
from ibkr_actor.core.messages import RestoreContracts
from ibkr_actor.core.requests import ReqContractDetails
from ibkr_actor.schema.codec import decode_command
from ibkr_actor.schema.commands import Resolve, Subscribe
from ibkr_actor.schema.instruments import Contract, InstrumentQuery, Leg, combination_id
from tests.core.kit import answer, asked, at, stock
from tests.core.test_contracts import AAPL, rejection, reply_with, resolved, send, subscribe, up, writes

ISIN = "US0378331005"
KNOWN = structs.replace(
    AAPL, sec_ids=(("ISIN", ISIN),), trading_hours="20260105:0400-20260105:2000", time_zone="US/Eastern"
)
LEGS = (Leg(265598, 1, "BUY"), Leg(272093, 1, "SELL"))
SPREAD = InstrumentQuery("AAPL,MSFT", "BAG", legs=LEGS)
SPREAD_ID = combination_id([(265598, 1, "BUY", "SMART"), (272093, 1, "SELL", "SMART")])


@pytest.mark.parametrize("kind", ["ISIN", "CUSIP", "FIGI", "SEDOL", "RIC"])
def test_an_identifier_is_asked_of_ib_by_its_type(kind: str) -> None:
    (request,) = asked(send(up(), subscribe(f"{kind}:X1"), 0))
    assert request == ReqContractDetails(11, InstrumentQuery("", "STK", "SMART", sec_id_type=kind, sec_id="X1"))


def test_an_identifier_leads_to_the_same_stream_as_the_symbol() -> None:
    core = up()
    send(core, subscribe(f"isin:{ISIN}"), 0)
    ((_, contract),) = resolved(reply_with(core, 11, [KNOWN], 1))
    assert contract is not None
    assert contract.instrument == "AAPL.STK.SMART.USD"


def test_a_resolve_answers_the_other_identifiers() -> None:
    core = up()
    send(core, Resolve(instrument="AAPL"), 0)
    reply = answer(reply_with(core, 11, [KNOWN], 1)).reply
    assert isinstance(reply.result, dict)
    assert reply.result["sec_ids"] == {"ISIN": ISIN}
    assert (reply.result["con_id"], reply.result["instrument"]) == (265598, "AAPL.STK.SMART.USD")


def test_listings_in_several_currencies_are_the_candidates() -> None:
    core = up()
    send(core, subscribe(f"ISIN:{ISIN}"), 0)
    mexico = structs.replace(KNOWN, con_id=38708077, currency="MXN")
    found = rejection(reply_with(core, 11, [KNOWN, mexico], 1))
    assert found.code == "ambiguous_instrument"
    assert [each.instrument for each in found.candidates or []] == ["AAPL.STK.SMART.USD", "AAPL.STK.SMART.MXN"]


def test_an_answer_with_another_identifier_is_refused() -> None:
    core = up()
    send(core, subscribe("ISIN:US5949181045"), 0)
    assert rejection(reply_with(core, 11, [KNOWN], 1)).code == "invalid_instrument"


@pytest.mark.parametrize("text", ["CINS:X", "ISIN:", ":X"])
def test_an_identifier_of_no_known_type_is_refused(text: str) -> None:
    assert rejection(send(up(), subscribe(text), 0)).code == "invalid_instrument"


def test_a_stock_with_its_exchange_is_routed_by_smart_and_told_apart_by_it() -> None:
    core = up()
    (request,) = asked(send(core, subscribe("AAPL@NASDAQ"), 0))
    assert request == ReqContractDetails(11, InstrumentQuery("AAPL", "STK", "SMART", "USD", primary_exchange="NASDAQ"))
    elsewhere = structs.replace(AAPL, con_id=7, primary_exchange="AEB")
    here = structs.replace(AAPL, primary_exchange="NASDAQ")
    ((_, contract),) = resolved(reply_with(core, 11, [elsewhere, here], 1))
    assert contract is not None
    assert (contract.con_id, contract.exchange) == (265598, "SMART")


def test_a_symbol_at_smart_is_the_plain_symbol() -> None:
    core = up()
    send(core, subscribe("AAPL"), 0)
    assert asked(send(core, subscribe("AAPL@SMART"), 0, "2")) == []


def test_a_dated_contract_is_asked_for_again_when_its_last_day_is_over() -> None:
    core = up()
    query = InstrumentQuery("ES", "CONTFUT", "CME", "USD")
    front = Contract(1, "ES", "CONTFUT", "CME", "USD", last_trade_date="20260101")
    send(core, subscribe(query), 0)
    reply_with(core, 11, [front], 0)
    assert asked(send(core, subscribe(query), 12 * 3_600, "2")) == []
    assert asked(send(core, subscribe(query), 40 * 3_600, "3"))


# ---- combinations


def combination(effects: list[Effect]) -> Contract:
    ((_, contract),) = resolved(effects)
    assert contract is not None
    return contract


def test_a_combination_has_the_id_of_its_legs_and_the_hours_of_one() -> None:
    core = up()
    (request,) = asked(send(core, subscribe(SPREAD), 0))
    assert request == ReqContractDetails(11, InstrumentQuery(con_id=265598, exchange="SMART"))
    found = combination(reply_with(core, 11, [KNOWN], 1))
    assert (found.con_id, found.sec_type, found.symbol, found.currency) == (0, "BAG", "AAPL,MSFT", "USD")
    assert found.instrument == SPREAD_ID
    assert [leg.exchange for leg in found.legs] == ["SMART", "SMART"]
    assert (found.trading_hours, found.time_zone) == (KNOWN.trading_hours, KNOWN.time_zone)


def test_it_can_be_named_by_its_id_from_then_on_whatever_the_order_of_its_legs_and_after_a_restart() -> None:
    core = up()
    send(core, subscribe(SPREAD), 0)
    effects = reply_with(core, 11, [KNOWN], 1)
    assert combination(send(core, subscribe(SPREAD_ID), 2, "2")).instrument == SPREAD_ID
    turned = structs.replace(SPREAD, legs=LEGS[::-1])
    assert combination(send(core, subscribe(turned), 2, "3")).instrument == SPREAD_ID
    again = up()
    fields = {field: value for field, value in writes(effects).items() if value is not None}
    again.handle(RestoreContracts(fields), at(3))
    assert (
        combination(send(again, subscribe(SPREAD_ID), 1e6)).legs == combination(send(core, subscribe(SPREAD), 4)).legs
    )


def test_an_id_that_was_never_named_here_is_refused() -> None:
    found = rejection(send(up(), subscribe("BAG@0123456789abcdef"), 0))
    assert found.code == "invalid_instrument"
    assert "name its legs" in found.message


@pytest.mark.parametrize(
    ("query", "word"),
    [
        (structs.replace(SPREAD, legs=LEGS[:1]), "2 to 16 legs"),
        (structs.replace(SPREAD, legs=(LEGS[0], Leg(0, 1, "BUY"))), "con_id"),
        (structs.replace(SPREAD, legs=(LEGS[0], Leg(1, 0, "BUY"))), "ratio"),
        (structs.replace(SPREAD, symbol=""), "symbol"),
        (structs.replace(SPREAD, legs=(LEGS[0], Leg(1, 1, "BUY", "A\0B"))), "control character"),
        (InstrumentQuery("AAPL", legs=LEGS), "BAG"),
    ],
)
def test_legs_that_cannot_be_are_refused_by_name(query: InstrumentQuery, word: str) -> None:
    found = rejection(send(up(), subscribe(query), 0))
    assert found.code == "invalid_instrument"
    assert word in found.message


def test_a_person_can_write_the_legs() -> None:
    text = (
        b'{"op":"subscribe","instrument":{"sec_type":"BAG","symbol":"AAPL,MSFT","legs":['
        b'{"con_id":265598,"ratio":1,"action":"BUY"},{"con_id":272093,"action":"SELL"}]},"kinds":["quote"]}'
    )
    command = decode_command({b"j": text})
    assert isinstance(command, Subscribe)
    assert command.instrument == SPREAD
    assert stock().legs == ()
