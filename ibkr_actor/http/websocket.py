"""The WebSocket: subscribe and unsubscribe in the course of one connection, any kinds, the same events as the streams.

Each message is one JSON object; what is wrong with one is told and ends nothing.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

import anyio
import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from ibkr_actor.http import shapes
from ibkr_actor.http.bodies import Currency, Exchange, Symbols, instrument
from ibkr_actor.http.errors import HttpError, answer
from ibkr_actor.http.items import Item, position_of
from ibkr_actor.http.leases import named
from ibkr_actor.http.outlet import Notice
from ibkr_actor.http.service import Service
from ibkr_actor.http.streams import Live, Wanted, check_kind, count, live

log = logging.getLogger(__name__)

KindNames = Annotated[list[Annotated[str, Meta(min_length=1, max_length=40)]], Meta(min_length=1, max_length=20)]
# Status of a close. Source: RFC 6455, 7.4.1, and the IANA registry: 1001 going away, 1008 policy, 1013 try again later.
GOING_AWAY, POLICY, TRY_LATER = 1001, 1008, 1013


class Change(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may say. `after` are ids to go on behind, one for each stream, symbols before kinds."""

    op: Literal["subscribe", "unsubscribe", "ping"]
    id: str | int | None = None
    symbols: Symbols | None = None
    kinds: KindNames = msgspec.field(default_factory=lambda: ["quote"])
    exchange: Exchange = "SMART"
    currency: Currency = "USD"
    after: list[str] | None = None


_decoder = msgspec.json.Decoder(Change)
_encode = msgspec.json.Encoder().encode


async def websocket(socket: WebSocket) -> None:
    """One connection. `?hz=` is as for the streams."""
    service: Service = socket.app.state.service
    await socket.accept()
    code, reason = 1000, ""
    try:
        hz = _hz(socket.query_params.get("hz"))
        async with live(service, hz=hz) as it:
            it.ends = False
            code = await _serve(socket, it)
    except HttpError as error:
        code = POLICY if error.status < 500 else TRY_LATER
        reason = error.message
        await _send(socket, {"event": "error", **error.body}, service.config.stall_s)
    except (WebSocketDisconnect, RuntimeError):
        return  # it has gone
    await _close(socket, code, reason)


async def no_upgrade(request: Request) -> Response:
    """A plain request to where the WebSocket is."""
    message = "this is a WebSocket: connect with ws:// or wss://, or use /api/v1/stream/... for events over HTTP"
    return answer(HttpError("upgrade_required", message))


async def _serve(socket: WebSocket, it: Live) -> int:
    """Both directions until one ends; the code to close with."""
    codes: list[int] = []
    async with anyio.create_task_group() as tasks:

        async def listen() -> None:
            try:
                while True:
                    message = await socket.receive()
                    if message["type"] == "websocket.disconnect":
                        break
                    raw = message.get("text") or message.get("bytes") or ""
                    await _take(socket, it, raw)
            except (WebSocketDisconnect, RuntimeError):
                pass  # it went while it was answered
            tasks.cancel_scope.cancel()

        tasks.start_soon(listen)
        codes.append(await _speak(socket, it))
        tasks.cancel_scope.cancel()
    return codes[0] if codes else 1000


async def _speak(socket: WebSocket, it: Live) -> int:
    stall_s = it.service.config.stall_s
    while True:
        batch = await it.outlet.next(it.service.config.keep_alive_s)
        for each in batch:
            if isinstance(each, Notice):
                if not await _send(socket, {"event": each.event, "data": each.data}, stall_s):
                    return TRY_LATER
                if each.last:
                    return GOING_AWAY if each.event == "bye" else TRY_LATER
                continue
            it.outlet.positions[each[0]] = each[1].id
            if not await _send_bytes(socket, each[1].rendered(_framed), stall_s):
                return TRY_LATER
        count(it.service, batch)


async def _take(socket: WebSocket, it: Live, raw: str | bytes) -> None:
    """Does what one message says, and answers it."""
    asked: Change | None = None
    try:
        asked = _decoder.decode(raw)
        answer = await _done(it, asked)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        answer = {"event": "error", **HttpError("validation_error", f"not as it must be: {error}").body}
    except HttpError as error:
        answer = {"event": "error", **error.body}
    if asked is not None and asked.id is not None:
        answer["id"] = asked.id
    await _send(socket, answer, it.service.config.stall_s)


async def _done(it: Live, asked: Change) -> dict[str, Any]:
    if asked.op == "ping":
        return {"event": "pong"}
    if asked.symbols is None:
        raise HttpError("validation_error", f"{asked.op} needs symbols")
    kinds = [check_kind(kind) for kind in dict.fromkeys(asked.kinds)]
    named_ = [(symbol, instrument(symbol, asked.exchange, asked.currency)) for symbol in dict.fromkeys(asked.symbols)]
    if asked.op == "unsubscribe":
        gone = [
            {"symbol": symbol, "kind": kind} for symbol, what in named_ for kind in kinds if it.leave(named(what), kind)
        ]
        return {"event": "unsubscribed", "streams": gone}
    wanted = [Wanted(what, kind) for _, what in named_ for kind in kinds]
    await it.follow(wanted, _checked(asked.after, len(wanted)))
    streams = [{"instrument": one.lease.stream.instrument, "kind": one.kind} for one in wanted if one.lease is not None]
    return {"event": "subscribed", "streams": streams}


def _checked(after: list[str] | None, streams: int) -> list[str] | None:
    if after is None:
        return None
    if len(after) != streams:
        raise HttpError("validation_error", f"after has {len(after)} ids, the request {streams} streams")
    try:
        for each in after:
            position_of(each)
    except ValueError as error:
        raise HttpError("validation_error", f"after: {error}") from None
    return after


def _hz(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        hz = float(text)
    except ValueError:
        hz = -1.0
    if not 0 <= hz <= 100:
        raise HttpError("validation_error", "hz is a number from 0 to 100")
    return hz


def _framed(item: Item) -> bytes:
    return b'{"event":"%s","data":%s}' % (shapes.event_of(item).encode(), item.rendered(shapes.core_json))


async def _send(socket: WebSocket, message: dict[str, Any], stall_s: float) -> bool:
    return await _send_bytes(socket, _encode(message), stall_s)


async def _send_bytes(socket: WebSocket, message: bytes, stall_s: float) -> bool:
    """Whether the client took it in time."""
    with anyio.move_on_after(stall_s):
        await socket.send_text(message.decode())
        return True
    return False


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    try:
        await socket.close(code, reason[:120])
    except (WebSocketDisconnect, RuntimeError):
        log.debug("websocket_gone code=%d", code)
