"""Rows of a search as the official client gives them: contracts, and issuers of bonds, which have no con_id."""

from __future__ import annotations

import pytest
from ibapi.contract import ContractDescription

from ibkr_actor.core.events import FoundSymbol, Rerouted, SymbolSamples
from ibkr_actor.tws.wrapper import Wrapper


@pytest.mark.parametrize("con_id", [0, -1])
def test_a_row_is_a_contract_or_an_issuer(con_id: int) -> None:
    stock, issuer = ContractDescription(), ContractDescription()
    stock.contract.conId, stock.contract.symbol, stock.contract.secType = 265598, "AAPL", "STK"
    stock.contract.primaryExchange, stock.contract.currency = "NASDAQ", "USD"
    stock.contract.description, stock.derivativeSecTypes = "APPLE INC", ["OPT", "CFD"]
    issuer.contract.conId, issuer.contract.secType, issuer.contract.issuerId = con_id, "BOND", "e1359061"
    wrapper = Wrapper(1)
    wrapper.symbolSamples(11, [stock, issuer])
    assert wrapper.events == [
        SymbolSamples(
            11,
            (
                FoundSymbol(265598, "AAPL", "STK", "NASDAQ", "USD", ("OPT", "CFD"), "APPLE INC"),
                FoundSymbol(0, "", "BOND", "", "", (), "", "e1359061"),
            ),
        )
    ]


def test_both_reroutes_are_the_same_event() -> None:
    wrapper = Wrapper(1)
    wrapper.received_ns = 5
    wrapper.rerouteMktDataReq(12, 8314, "SMART")
    wrapper.rerouteMktDepthReq(22, 8314, "NYSE")
    assert wrapper.events == [Rerouted(12, 5, 8314, "SMART"), Rerouted(22, 5, 8314, "NYSE")]
