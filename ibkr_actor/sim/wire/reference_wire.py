"""Owns the requests and messages of reference data, as text and protobuf.

Must not answer anything; requests.py and responses.py merge its tables.
"""

from __future__ import annotations

from typing import Any

from ibapi.protobuf import (
    CalculateImpliedVolatilityRequest_pb2,
    CalculateOptionPriceRequest_pb2,
    CancelCalculateImpliedVolatility_pb2,
    CancelCalculateOptionPrice_pb2,
    MarketDepthExchanges_pb2,
    MarketDepthExchangesRequest_pb2,
    MarketRule_pb2,
    MarketRuleRequest_pb2,
    SecDefOptParameter_pb2,
    SecDefOptParamsRequest_pb2,
    SmartComponents_pb2,
    SmartComponentsRequest_pb2,
)

from ibkr_actor.sim.market.instruments import ContractSpec
from ibkr_actor.sim.market.venues import DepthExchange, PriceIncrement, SmartComponent
from ibkr_actor.sim.messages import ContractData, Message
from ibkr_actor.sim.wire.contract_layout import bond_data_fields, contract_data_protobuf
from ibkr_actor.sim.wire.layout import CONTRACTS_FROM, REST_2_FROM, REST_3_FROM, Layout
from ibkr_actor.sim.wire.reading import Fields
from ibkr_actor.sim.wire.request_base import Reader, Request, cancel_reader, contract_of, parse


class ReqOptionParameters(Request, frozen=True, kw_only=True):
    """`exchange` is the one of a future's options, empty for all."""

    symbol: str
    exchange: str
    sec_type: str
    con_id: int


class ReqSmartComponents(Request, frozen=True, kw_only=True):
    bbo_exchange: str


class ReqMarketRule(Request, frozen=True, kw_only=True):
    market_rule_id: int


class ReqDepthExchanges(Request, frozen=True, kw_only=True):
    pass


class ReqImpliedVolatility(Request, frozen=True, kw_only=True):
    contract: ContractSpec
    option_price: float
    under_price: float


class ReqOptionPrice(Request, frozen=True, kw_only=True):
    """`volatility` 0.2 is 20 %."""

    contract: ContractSpec
    volatility: float
    under_price: float


class BondData(ContractData, frozen=True, kw_only=True):
    """Contract details of a bond."""


class OptionParameter(Message, frozen=True, kw_only=True):
    """One exchange and trading class of a chain; expirations are YYYYMMDD."""

    exchange: str
    underlying_con_id: int
    trading_class: str
    multiplier: str
    expirations: tuple[str, ...]
    strikes: tuple[float, ...]


class SmartComponentMap(Message, frozen=True, kw_only=True):
    components: tuple[SmartComponent, ...]


class MarketRule(Message, frozen=True, kw_only=True):
    market_rule_id: int
    increments: tuple[PriceIncrement, ...]


class DepthExchanges(Message, frozen=True, kw_only=True):
    exchanges: tuple[DepthExchange, ...]


def _option_parameters(fields: Fields, _: int) -> Request:
    return ReqOptionParameters(
        message_id=78,
        req_id=fields.own_id(),
        symbol=fields.text(),
        exchange=fields.text(),
        sec_type=fields.text(),
        con_id=fields.integer(),
    )


def _option_parameters_protobuf(body: bytes) -> Request:
    proto: Any = parse(SecDefOptParamsRequest_pb2.SecDefOptParamsRequest, body)
    return ReqOptionParameters(
        message_id=78,
        req_id=proto.reqId,
        symbol=proto.underlyingSymbol,
        exchange=proto.futFopExchange,
        sec_type=proto.underlyingSecType,
        con_id=proto.underlyingConId,
    )


def _smart_components(fields: Fields, _: int) -> Request:
    return ReqSmartComponents(message_id=83, req_id=fields.own_id(), bbo_exchange=fields.text())


def _smart_components_protobuf(body: bytes) -> Request:
    proto: Any = parse(SmartComponentsRequest_pb2.SmartComponentsRequest, body)
    return ReqSmartComponents(message_id=83, req_id=proto.reqId, bbo_exchange=proto.bboExchange)


def _market_rule(fields: Fields, _: int) -> Request:
    return ReqMarketRule(message_id=91, market_rule_id=fields.integer())


def _market_rule_protobuf(body: bytes) -> Request:
    proto: Any = parse(MarketRuleRequest_pb2.MarketRuleRequest, body)
    return ReqMarketRule(message_id=91, market_rule_id=proto.marketRuleId)


def _depth_exchanges_protobuf(body: bytes) -> Request:
    parse(MarketDepthExchangesRequest_pb2.MarketDepthExchangesRequest, body)
    return ReqDepthExchanges(message_id=82)


def _implied_volatility(fields: Fields, _: int) -> Request:
    fields.text()
    return ReqImpliedVolatility(
        message_id=54,
        req_id=fields.own_id(),
        contract=fields.contract(),
        option_price=fields.number(),
        under_price=fields.number(),
    )


def _implied_volatility_protobuf(body: bytes) -> Request:
    proto: Any = parse(CalculateImpliedVolatilityRequest_pb2.CalculateImpliedVolatilityRequest, body)
    return ReqImpliedVolatility(
        message_id=54,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        option_price=proto.optionPrice,
        under_price=proto.underPrice,
    )


def _option_price(fields: Fields, _: int) -> Request:
    fields.text()
    return ReqOptionPrice(
        message_id=55,
        req_id=fields.own_id(),
        contract=fields.contract(),
        volatility=fields.number(),
        under_price=fields.number(),
    )


def _option_price_protobuf(body: bytes) -> Request:
    proto: Any = parse(CalculateOptionPriceRequest_pb2.CalculateOptionPriceRequest, body)
    return ReqOptionPrice(
        message_id=55,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        volatility=proto.volatility,
        under_price=proto.underPrice,
    )


def _parameter_fields(it: OptionParameter, _: int) -> list[str]:
    fields = [str(it.req_id), it.exchange, str(it.underlying_con_id), it.trading_class, it.multiplier]
    return [*fields, str(len(it.expirations)), *it.expirations, str(len(it.strikes)), *map(repr, it.strikes)]


def _parameter_protobuf(it: OptionParameter, _: int) -> Any:
    return SecDefOptParameter_pb2.SecDefOptParameter(
        reqId=it.req_id,
        exchange=it.exchange,
        underlyingConId=it.underlying_con_id,
        tradingClass=it.trading_class,
        multiplier=it.multiplier,
        expirations=it.expirations,
        strikes=it.strikes,
    )


def _component_fields(it: SmartComponentMap, _: int) -> list[str]:
    rows = [text for row in it.components for text in (str(row.bit_number), row.exchange, row.exchange_letter)]
    return [str(it.req_id), str(len(it.components)), *rows]


def _component_protobuf(it: SmartComponentMap, _: int) -> Any:
    proto = SmartComponents_pb2.SmartComponents(reqId=it.req_id)
    for row in it.components:
        proto.smartComponents.add(bitNumber=row.bit_number, exchange=row.exchange, exchangeLetter=row.exchange_letter)
    return proto


def _rule_fields(it: MarketRule, _: int) -> list[str]:
    rows = [repr(number) for row in it.increments for number in row]
    return [str(it.market_rule_id), str(len(it.increments)), *rows]


def _rule_protobuf(it: MarketRule, _: int) -> Any:
    proto = MarketRule_pb2.MarketRule(marketRuleId=it.market_rule_id)
    for row in it.increments:
        proto.priceIncrements.add(lowEdge=row.low_edge, increment=row.increment)
    return proto


def _depth_fields(it: DepthExchanges, _: int) -> list[str]:
    rows = [str(value) for row in it.exchanges for value in row]
    return [str(len(it.exchanges)), *rows]


def _depth_protobuf(it: DepthExchanges, _: int) -> Any:
    proto = MarketDepthExchanges_pb2.MarketDepthExchanges()
    for row in it.exchanges:
        proto.depthMarketDataDescriptions.add(
            exchange=row.exchange,
            secType=row.sec_type,
            listingExch=row.listing_exchange,
            serviceDataType=row.service_data_type,
            aggGroup=row.agg_group,
        )
    return proto


READERS: dict[int, Reader] = {
    54: (_implied_volatility, _implied_volatility_protobuf),
    55: (_option_price, _option_price_protobuf),
    56: cancel_reader(56, CancelCalculateImpliedVolatility_pb2.CancelCalculateImpliedVolatility),
    57: cancel_reader(57, CancelCalculateOptionPrice_pb2.CancelCalculateOptionPrice),
    78: (_option_parameters, _option_parameters_protobuf),
    82: (lambda _, __: ReqDepthExchanges(message_id=82), _depth_exchanges_protobuf),
    83: (_smart_components, _smart_components_protobuf),
    91: (_market_rule, _market_rule_protobuf),
}
LAYOUTS: dict[type[Message], Layout] = {
    BondData: Layout(18, CONTRACTS_FROM, bond_data_fields, contract_data_protobuf),
    OptionParameter: Layout(75, REST_2_FROM, _parameter_fields, _parameter_protobuf),
    DepthExchanges: Layout(80, REST_3_FROM, _depth_fields, _depth_protobuf),
    SmartComponentMap: Layout(82, REST_2_FROM, _component_fields, _component_protobuf),
    MarketRule: Layout(93, REST_2_FROM, _rule_fields, _rule_protobuf),
}
