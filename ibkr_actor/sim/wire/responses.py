"""Owns how each message looks on the wire at each server version: text fields or protobuf, by the gate of its kind.

Must not decide whether a message is sent; one row of LAYOUTS is all there is to a message's form.
"""

from __future__ import annotations

from typing import Any

from ibapi.protobuf import (
    AccountDataEnd_pb2,
    AccountSummaryEnd_pb2,
    AccountUpdateMultiEnd_pb2,
    CompletedOrdersEnd_pb2,
    ContractDataEnd_pb2,
    CurrentTime_pb2,
    CurrentTimeInMillis_pb2,
    ErrorMessage_pb2,
    ExecutionDetailsEnd_pb2,
    ManagedAccounts_pb2,
    NextValidId_pb2,
    OpenOrdersEnd_pb2,
    PositionEnd_pb2,
    PositionMultiEnd_pb2,
    SecDefOptParameterEnd_pb2,
    TickSnapshotEnd_pb2,
    UserInfo_pb2,
)

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.wire import history_wire, news_wire, reference_wire, scanner_wire
from ibkr_actor.sim.wire import tick_layout as t
from ibkr_actor.sim.wire.contract_layout import (
    contract_data_fields,
    contract_data_protobuf,
    symbol_samples_fields,
    symbol_samples_protobuf,
)
from ibkr_actor.sim.wire.frames import ascii_text, escape, protobuf_frame, text_frame
from ibkr_actor.sim.wire.layout import (
    ACCOUNTS_FROM,
    COMPLETED_ORDERS_FROM,
    CONTRACTS_FROM,
    ERRORS_FROM,
    HISTORICAL_FROM,
    MARKET_DATA_FROM,
    NEVER,
    REST_2_FROM,
    REST_3_FROM,
    Layout,
    versioned,
)


class Encoder:
    """Makes frames for one negotiated server version."""

    def __init__(self, server_version: int, *, managed_accounts_proto_from: int = REST_3_FROM) -> None:
        self.server_version = server_version
        self._managed_accounts_from = managed_accounts_proto_from

    def encode(self, message: m.Message) -> bytes:
        """The whole frame, length included.

        Raises: KeyError for a type that is no message of the gateway.
        """
        kind = type(message)
        layout = LAYOUTS[kind]
        gate = self._managed_accounts_from if kind is m.ManagedAccounts else layout.protobuf_from
        if layout.protobuf is not None and self.server_version >= gate:
            body: bytes = layout.protobuf(message, self.server_version).SerializeToString()
            return protobuf_frame(layout.message_id, body)
        return text_frame(layout.message_id, layout.text(message, self.server_version), self.server_version)


def _error(error: m.ErrorMessage, server_version: int) -> list[str]:
    """Three layouts: version first below 194, the advanced reject from 166, the time from 194."""
    fields = [str(error.req_id), str(error.code), ascii_text(error.text, server_version)]
    if server_version < 194:
        fields.insert(0, "2")
    if server_version >= 166:
        fields.append(escape(error.advanced_order_reject))
    if server_version >= 194:
        fields.append(str(error.time_ms))
    return fields


def _error_protobuf(error: m.ErrorMessage, _: int) -> Any:
    return ErrorMessage_pb2.ErrorMessage(
        id=error.req_id,
        errorTime=error.time_ms,
        errorCode=error.code,
        errorMsg=error.text,
        advancedOrderRejectJson=error.advanced_order_reject or None,
    )


# Ordered by message id. Messages without a req_id carry only their version in text.
_OWN: dict[type[m.Message], Layout] = {
    m.TickPrice: Layout(1, MARKET_DATA_FROM, t.tick_price, t.tick_price_protobuf),
    m.TickSize: Layout(2, MARKET_DATA_FROM, t.tick_size, t.tick_size_protobuf),
    m.ErrorMessage: Layout(4, ERRORS_FROM, _error, _error_protobuf),
    m.NextValidId: Layout(
        9,
        REST_3_FROM,
        lambda message, _: ["1", str(message.order_id)],
        lambda message, _: NextValidId_pb2.NextValidId(orderId=message.order_id),
    ),
    m.ContractData: Layout(10, CONTRACTS_FROM, contract_data_fields, contract_data_protobuf),
    m.MarketDepth: Layout(12, MARKET_DATA_FROM, t.depth, t.depth_protobuf),
    m.MarketDepthL2: Layout(13, MARKET_DATA_FROM, t.depth_l2, t.depth_l2_protobuf),
    m.ManagedAccounts: Layout(
        15,
        REST_3_FROM,
        lambda message, _: ["1", ",".join(message.accounts)],
        lambda message, _: ManagedAccounts_pb2.ManagedAccounts(accountsList=",".join(message.accounts)),
    ),
    m.TickOptionComputation: Layout(21, MARKET_DATA_FROM, t.tick_option, t.tick_option_protobuf),
    m.TickGeneric: Layout(45, MARKET_DATA_FROM, t.tick_generic, t.tick_generic_protobuf),
    m.TickString: Layout(46, MARKET_DATA_FROM, t.tick_string, t.tick_string_protobuf),
    m.TickEfp: Layout(47, NEVER, t.tick_efp, None),
    m.CurrentTime: Layout(
        49,
        REST_3_FROM,
        lambda message, _: ["1", str(message.time)],
        lambda message, _: CurrentTime_pb2.CurrentTime(currentTime=message.time),
    ),
    m.RealTimeBar: Layout(50, HISTORICAL_FROM, t.bar, t.bar_protobuf),
    m.ContractDataEnd: Layout(
        52,
        CONTRACTS_FROM,
        versioned(1),
        lambda message, _: ContractDataEnd_pb2.ContractDataEnd(reqId=message.req_id),
    ),
    m.OpenOrderEnd: Layout(
        53, COMPLETED_ORDERS_FROM, lambda message, _: ["1"], lambda message, _: OpenOrdersEnd_pb2.OpenOrdersEnd()
    ),
    m.AccountDownloadEnd: Layout(
        54,
        ACCOUNTS_FROM,
        lambda message, _: ["1", message.account],
        lambda message, _: AccountDataEnd_pb2.AccountDataEnd(accountName=message.account),
    ),
    m.ExecutionDataEnd: Layout(
        55,
        ERRORS_FROM,
        versioned(1),
        lambda message, _: ExecutionDetailsEnd_pb2.ExecutionDetailsEnd(reqId=message.req_id),
    ),
    m.DeltaNeutralValidation: Layout(56, NEVER, t.delta_neutral, None),
    m.TickSnapshotEnd: Layout(
        57,
        MARKET_DATA_FROM,
        versioned(1),
        lambda message, _: TickSnapshotEnd_pb2.TickSnapshotEnd(reqId=message.req_id),
    ),
    m.MarketDataType: Layout(58, MARKET_DATA_FROM, t.market_data_type, t.market_data_type_protobuf),
    m.PositionEnd: Layout(
        62, ACCOUNTS_FROM, lambda message, _: ["1"], lambda message, _: PositionEnd_pb2.PositionEnd()
    ),
    m.AccountSummaryEnd: Layout(
        64,
        ACCOUNTS_FROM,
        versioned(1),
        lambda message, _: AccountSummaryEnd_pb2.AccountSummaryEnd(reqId=message.req_id),
    ),
    m.PositionMultiEnd: Layout(
        72,
        ACCOUNTS_FROM,
        versioned(1),
        lambda message, _: PositionMultiEnd_pb2.PositionMultiEnd(reqId=message.req_id),
    ),
    m.AccountUpdateMultiEnd: Layout(
        74,
        ACCOUNTS_FROM,
        versioned(1),
        lambda message, _: AccountUpdateMultiEnd_pb2.AccountUpdateMultiEnd(reqId=message.req_id),
    ),
    m.SecDefOptParameterEnd: Layout(
        76,
        REST_2_FROM,
        lambda message, _: [str(message.req_id)],
        lambda message, _: SecDefOptParameterEnd_pb2.SecDefOptParameterEnd(reqId=message.req_id),
    ),
    m.SymbolSamples: Layout(79, REST_2_FROM, symbol_samples_fields, symbol_samples_protobuf),
    m.TickReqParams: Layout(81, MARKET_DATA_FROM, t.tick_req_params, t.tick_req_params_protobuf),
    m.TickNews: Layout(84, MARKET_DATA_FROM, t.tick_news, t.tick_news_protobuf),
    m.RerouteMarketData: Layout(91, MARKET_DATA_FROM, t.reroute, t.reroute_market_data_protobuf),
    m.RerouteMarketDepth: Layout(92, MARKET_DATA_FROM, t.reroute, t.reroute_market_depth_protobuf),
    m.TickByTickLast: Layout(99, HISTORICAL_FROM, t.last, t.last_protobuf),
    m.TickByTickBidAsk: Layout(99, HISTORICAL_FROM, t.bid_ask, t.bid_ask_protobuf),
    m.TickByTickMidPoint: Layout(99, HISTORICAL_FROM, t.mid_point, t.mid_point_protobuf),
    m.CompletedOrdersEnd: Layout(
        102,
        COMPLETED_ORDERS_FROM,
        lambda message, _: [],
        lambda message, _: CompletedOrdersEnd_pb2.CompletedOrdersEnd(),
    ),
    m.UserInfo: Layout(
        107,
        REST_2_FROM,
        lambda message, _: [str(message.req_id), message.white_branding_id],
        lambda message, _: UserInfo_pb2.UserInfo(reqId=message.req_id, whiteBrandingId=message.white_branding_id),
    ),
    m.CurrentTimeInMillis: Layout(
        109,
        REST_3_FROM,
        lambda message, _: [str(message.time_ms)],
        lambda message, _: CurrentTimeInMillis_pb2.CurrentTimeInMillis(currentTimeInMillis=message.time_ms),
    ),
}

# A family's own table wins over what stands above.
LAYOUTS: dict[type[m.Message], Layout] = {
    **_OWN,
    **news_wire.LAYOUTS,
    **scanner_wire.LAYOUTS,
    **reference_wire.LAYOUTS,
    **history_wire.LAYOUTS,
}
