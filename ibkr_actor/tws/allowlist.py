"""What may leave for the gateway: the ids of market-data requests, and the check of every outgoing frame.

The list is closed: orders, accounts, positions, executions and settings of TWS are not on it and cannot be sent.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.errors import ReadOnlyViolation

# Outgoing message ids. Source: ibapi.message.OUT.
ALLOWED: Final[dict[int, str]] = {
    1: "reqMktData",
    2: "cancelMktData",
    8: "reqIds",
    9: "reqContractDetails",
    10: "reqMktDepth",
    11: "cancelMktDepth",
    12: "reqNewsBulletins",
    13: "cancelNewsBulletins",
    14: "setServerLogLevel",
    20: "reqHistoricalData",
    22: "reqScannerSubscription",
    23: "cancelScannerSubscription",
    24: "reqScannerParameters",
    25: "cancelHistoricalData",
    49: "reqCurrentTime",
    50: "reqRealTimeBars",
    51: "cancelRealTimeBars",
    54: "calculateImpliedVolatility",
    55: "calculateOptionPrice",
    56: "cancelCalculateImpliedVolatility",
    57: "cancelCalculateOptionPrice",
    59: "reqMarketDataType",
    71: "startApi",
    78: "reqSecDefOptParams",
    81: "reqMatchingSymbols",
    82: "reqMktDepthExchanges",
    83: "reqSmartComponents",
    84: "reqNewsArticle",
    85: "reqNewsProviders",
    86: "reqHistoricalNews",
    87: "reqHeadTimeStamp",
    88: "reqHistogramData",
    89: "cancelHistogramData",
    90: "cancelHeadTimeStamp",
    91: "reqMarketRule",
    96: "reqHistoricalTicks",
    97: "reqTickByTickData",
    98: "cancelTickByTickData",
    105: "reqCurrentTimeInMillis",
    106: "cancelContractData",
    107: "cancelHistoricalTicks",
}
# From this server version on the id of a message is four bytes. Source: ibapi.server_versions.
BINARY_ID_VERSION: Final = 201
# Ids above this are the same messages as protobuf. Source: ibapi.common.PROTOBUF_MSG_ID.
PROTOBUF_OFFSET: Final = 200


def message_id(frame: bytes, server_version: int) -> int:
    """The id of an outgoing frame (length, id, body), protobuf or not.

    Raises:
        ReadOnlyViolation: it is not exactly one frame with an id.
    """
    if len(frame) < 5 or int.from_bytes(frame[:4], "big") != len(frame) - 4:
        raise ReadOnlyViolation("an outgoing message is not one whole frame")
    if server_version >= BINARY_ID_VERSION:
        if len(frame) < 8:
            raise ReadOnlyViolation("an outgoing message has no id")
        number = int.from_bytes(frame[4:8], "big")
        return number - PROTOBUF_OFFSET if number > PROTOBUF_OFFSET else number
    text, end, _ = frame[4:].partition(b"\0")
    if not end or not text.isdigit() or len(text) > 3:
        raise ReadOnlyViolation("an outgoing message has no id")
    return int(text)


def check_outgoing(frame: bytes, server_version: int) -> int:
    """The id of a frame that may leave.

    Raises:
        ReadOnlyViolation: it may not.
    """
    number = message_id(frame, server_version)
    if number not in ALLOWED:
        raise ReadOnlyViolation(f"message {number} is not a market-data request; this program is read-only")
    return number
