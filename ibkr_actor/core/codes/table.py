"""Owns the table of IB codes.

Data only; `core.codes.row` explains the columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ibkr_actor.core.codes.row import CodeRow

_TABLE: Final = "IBKR, TWS API message codes"
_CLIENT: Final = "ibapi/errors.py of 10.50.2"
_SEEN: Final = "observed, not in IBKR's table"

_CONNECTION: Final = (
    CodeRow(100, "messages came too fast", "connection", "pacing", "slow_down", "pacing_violation", True, 5.0, _TABLE),
    CodeRow(
        326, "client id in use", "connection", "session", "next_client_id", "connection_failed", True, None, _TABLE
    ),
    CodeRow(
        357, "API client too old for TWS", "connection", "version", "reconnect", "configuration_error", source=_TABLE
    ),
    CodeRow(501, "already connected", "client", "client_bug", "note", source=_CLIENT),
    CodeRow(502, "cannot connect", "connection", "connection", "reconnect", "connection_failed", True, 5.0, _CLIENT),
    CodeRow(503, "TWS too old for this request", "request", "version", "fail", "unsupported", source=_CLIENT),
    CodeRow(504, "not connected", "connection", "connection", "reconnect", "connection_failed", True, 5.0, _CLIENT),
    CodeRow(505, "unknown message id", "client", "client_bug", "note", source=_CLIENT),
    CodeRow(506, "unsupported version", "connection", "version", "reconnect", "configuration_error", source=_CLIENT),
    CodeRow(
        507, "bad message length", "connection", "connection", "reconnect", "connection_failed", True, 5.0, _CLIENT
    ),
    CodeRow(508, "bad message", "connection", "connection", "reconnect", "connection_failed", True, 5.0, _CLIENT),
    CodeRow(1100, "TWS lost IB", "connection", "connection", "upstream_down", "connection_failed", True, 5.0, _TABLE),
    CodeRow(1101, "TWS has IB again, data lost", "connection", "connection", "data_lost", source=_TABLE),
    CodeRow(1102, "TWS has IB again, data kept", "connection", "connection", "upstream_up", source=_TABLE),
    CodeRow(1300, "TWS moved to another port", "connection", "connection", "move_port", source=_TABLE),
    CodeRow(2110, "TWS lost its server, restoring", "connection", "connection", "upstream_down", source=_TABLE),
    CodeRow(10038, "socket closed improperly", "connection", "connection", "reconnect", "connection_failed", True, 5.0),
    CodeRow(10285, "API too old for fractional sizes", "request", "version", "fail", "unsupported", source=_TABLE),
)

_FARMS: Final = (
    CodeRow(2103, "market data farm broken", "farm", "farm", "farm_down", source=_TABLE),
    CodeRow(2104, "market data farm OK", "farm", "farm", "farm_up", source=_TABLE),
    CodeRow(2105, "historical data farm broken", "farm", "farm", "farm_down", source=_TABLE),
    CodeRow(2106, "historical data farm OK", "farm", "farm", "farm_up", source=_TABLE),
    CodeRow(2107, "historical data farm idle", "farm", "farm", "farm_idle", source=_TABLE),
    CodeRow(2108, "market data farm idle", "farm", "farm", "farm_idle", source=_TABLE),
    CodeRow(2119, "market data farm connecting", "farm", "farm", "farm_connecting", source=_TABLE),
    CodeRow(2157, "security definition farm broken", "farm", "farm", "farm_down", source=_TABLE),
    CodeRow(2158, "security definition farm OK", "farm", "farm", "farm_up", source=_TABLE),
)

_MARKET_DATA: Final = (
    CodeRow(101, "market data lines used up", "request", "limit", "fail", "line_limit", True, 60.0, _TABLE),
    CodeRow(102, "req_id in use", "request", "client_bug", "new_id", "internal", source=_TABLE),
    CodeRow(200, "no such contract", "request", "invalid_contract", "fail", "invalid_instrument", source=_TABLE),
    CodeRow(203, "security not allowed", "request", "permission", "fail", "permissions_missing", source=_TABLE),
    CodeRow(300, "request was over already", "request", "information", "note", source=_TABLE),
    CodeRow(309, "market depth requests used up", "request", "limit", "fail", "line_limit", True, 60.0, _TABLE),
    CodeRow(310, "depth was over already", "request", "information", "note", source=_TABLE),
    CodeRow(316, "depth halted", "request", "subscription", "resubscribe", source=_TABLE),
    CodeRow(317, "depth reset", "request", "advisory", "empty", source=_TABLE),
    CodeRow(320, "IB could not read the request", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(321, "IB found the request invalid", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(322, "IB could not process the request", "request", "bad_request", "new_id", "internal", source=_TABLE),
    CodeRow(354, "not subscribed", "request", "permission", "fail", "permissions_missing", source=_TABLE),
    CodeRow(391, "bad time zone", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(406, "currency not allowed", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(414, "snapshot with generic ticks", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    # Among the client's failures to send, but of a symbol that would never be sent: not ASCII, to an older server.
    CodeRow(579, "symbol cannot be sent", "request", "invalid_contract", "fail", "invalid_instrument", source=_CLIENT),
    CodeRow(
        420, "real-time query refused", "request", "permission", "fail", "permissions_missing", True, 600.0, _TABLE
    ),
    CodeRow(430, "fundamentals not available", "request", "unavailable", "fail", "unsupported", source=_TABLE),
    CodeRow(2127, "data comes from the underlying", "request", "information", "note", source=_SEEN),
    CodeRow(2152, "exchanges need more permissions", "request", "advisory", "keep", source=_TABLE),
    CodeRow(
        10089,
        "API data needs a subscription",
        "request",
        "degraded",
        "prove",
        "permissions_missing",
        False,
        15.0,
        _TABLE,
    ),
    CodeRow(10090, "part of the data not subscribed", "request", "advisory", "keep", source=_TABLE),
    CodeRow(
        10091,
        "API data needs a subscription",
        "request",
        "degraded",
        "prove",
        "permissions_missing",
        False,
        15.0,
        _TABLE,
    ),
    CodeRow(10092, "depth not supported here", "request", "unavailable", "fail", "unsupported", source=_SEEN),
    CodeRow(10167, "not subscribed, delayed data shown", "request", "advisory", "keep", source=_TABLE),
    CodeRow(
        10168,
        "not subscribed, delayed not enabled",
        "request",
        "permission",
        "fail",
        "permissions_missing",
        source=_TABLE,
    ),
    CodeRow(
        10186,
        "not subscribed, delayed not enabled",
        "request",
        "permission",
        "fail",
        "permissions_missing",
        source=_TABLE,
    ),
    # Also said while someone else is logged in: a line that was up before is asked for again.
    CodeRow(
        10189, "tick-by-tick not permitted", "request", "permission", "fail", "permissions_missing", True, 60.0, _TABLE
    ),
    CodeRow(10190, "tick-by-tick requests used up", "request", "limit", "fail", "line_limit", True, 60.0, _SEEN),
    CodeRow(10197, "competing live session", "request", "session", "starve", "competing_session", True, 60.0, _TABLE),
    CodeRow(10225, "bust event, subscription deactivated", "request", "subscription", "resubscribe", source=_TABLE),
    CodeRow(10337, "misc option key invalid", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(10338, "misc option value invalid", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(10346, "ticker displayed elsewhere", "request", "session", "fail", "competing_session", True, 60.0, _TABLE),
)

_HISTORY: Final = (
    # One code for pacing, no data, permission and cancel: the history core tells them apart by what it asked.
    CodeRow(162, "historical service error", "request", "historical", "fail", "internal", True, 15.0, _TABLE),
    CodeRow(165, "historical service message", "request", "information", "note", source=_TABLE),
    CodeRow(166, "contract expired", "request", "invalid_contract", "fail", "invalid_instrument", source=_TABLE),
    CodeRow(366, "no such historical query", "request", "information", "note", source=_TABLE),
    CodeRow(385, "scanner req_id in use", "request", "client_bug", "new_id", "internal", source=_TABLE),
    CodeRow(386, "historical req_id in use", "request", "client_bug", "new_id", "internal", source=_TABLE),
    # A ranking less precise than it would be with further subscriptions: its rows come all the same.
    # Source: github.com/erdewit/ib_insync/pull/196.
    CodeRow(492, "scan less than precise", "request", "permission", "note", source=_SEEN),
    CodeRow(10172, "no such news article", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(10182, "live updates failed", "request", "connection", "retry", "connection_failed", True, 5.0, _TABLE),
    CodeRow(
        10187, "historical ticks not permitted", "request", "permission", "fail", "permissions_missing", source=_TABLE
    ),
    CodeRow(10295, "schedule needs daily bars", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(
        10299, "another what_to_show expected", "request", "bad_request", "fail", "validation_error", source=_TABLE
    ),
    CodeRow(10300, "date or time format invalid", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(10301, "date or time format invalid", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(10314, "date or time format invalid", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(10330, "date or time format invalid", "request", "bad_request", "fail", "validation_error", source=_TABLE),
    CodeRow(
        10339, "end date not allowed for CONTFUT", "request", "bad_request", "fail", "validation_error", source=_TABLE
    ),
)

# Orders and accounts are never asked about; their notices may still reach a connection.
_ACCOUNT: Final = (
    CodeRow(103, "order id in use", "account", "order", "note", source=_TABLE),
    CodeRow(201, "order rejected", "account", "order", "note", source=_TABLE),
    CodeRow(2100, "account data ended", "account", "order", "note", source=_TABLE),
    CodeRow(2101, "account data ended", "account", "order", "note", source=_TABLE),
    CodeRow(2102, "order is being changed", "account", "order", "note", source=_TABLE),
    CodeRow(2109, "order attribute ignored", "account", "order", "note", source=_TABLE),
    CodeRow(2137, "order crosses position", "account", "order", "note", source=_TABLE),
    CodeRow(2150, "position value is derived", "account", "order", "note", source=_TABLE),
    CodeRow(2168, "order warning", "account", "order", "note", source=_TABLE),
    CodeRow(2169, "order warning", "account", "order", "note", source=_TABLE),
    CodeRow(10147, "order to cancel not found", "account", "order", "note", source=_TABLE),
    CodeRow(10148, "order cannot be cancelled", "account", "order", "note", source=_TABLE),
)


def _ranges() -> Iterator[CodeRow]:
    """Codes that differ only in which request they name."""
    for code in range(509, 590):
        yield CodeRow(
            code,
            "the client could not send",
            "request",
            "send_failed",
            "retry",
            "connection_failed",
            True,
            5.0,
            _CLIENT,
        )
    for code in range(10276, 10285):
        yield CodeRow(code, "event calendar refused", "request", "unavailable", "fail", "unsupported", source=_TABLE)


ROWS: Final[dict[int, CodeRow]] = {
    row.code: row for rows in (_ranges(), _CONNECTION, _FARMS, _MARKET_DATA, _HISTORY, _ACCOUNT) for row in rows
}
