"""The doctor's look at TWS or IB Gateway: its port, a handshake with the official client, its clock, its notices.

Uses a client id of its own and asks for one snapshot, so that a running sidecar does not notice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import anyio
from msgspec import structs

from ibkr_actor import configs
from ibkr_actor.cli import doctor_permissions
from ibkr_actor.cli.doctor_findings import Finding, fail, ok, warn
from ibkr_actor.core.events import (
    Connected,
    ConnectFailed,
    ConnectionLost,
    CurrentTime,
    ErrorNotice,
    Event,
    ManagedAccounts,
    NextValidId,
)
from ibkr_actor.core.requests import ReqCurrentTime
from ibkr_actor.settings import Settings
from ibkr_actor.tws.gateway import Gateway
from ibkr_actor.tws.inbox import FrameBatch, Inbox

# Where TWS and IB Gateway listen by default. Source: TWS API documentation, "TWS settings".
USUAL_PORTS: Final = {4002: "Gateway, paper", 4001: "Gateway, live", 7497: "TWS, paper", 7496: "TWS, live"}
# The gateway's clock has whole seconds where it is old, so less than that is no difference.
CLOCK_WARN_MS: Final = 2_000
CLIENT_ID_IN_USE: Final = 326
_INBOX_BYTES: Final = 1 << 20
_ENABLE: Final = "in TWS or IB Gateway, Configure > API > Settings: Enable ActiveX and Socket Clients, and Socket port"


async def check_port(settings: Settings, timeout_s: float) -> Finding:
    """Whether something takes connections there; if not, whether something does at a usual port."""
    where = f"{settings.host}:{settings.port}"
    reason = await _no_connection(settings.host, settings.port, timeout_s)
    if reason is None:
        return ok("gateway", f"{where} takes connections")
    others = [port for port in USUAL_PORTS if port != settings.port]
    found = [port for port in others if await _no_connection(settings.host, port, min(1.0, timeout_s)) is None]
    if found:
        named = " or ".join(f"{port} ({USUAL_PORTS[port]})" for port in found)
        return fail("gateway", f"{where}: {reason}, but something listens at {named}", f"set IBKR_PORT={found[0]}")
    return fail("gateway", f"{where}: {reason}", f"start TWS or IB Gateway, or set IBKR_HOST and IBKR_PORT; {_ENABLE}")


async def _no_connection(host: str, port: int, timeout_s: float) -> str | None:
    """Why there is no connection, None when there is one."""
    try:
        with anyio.fail_after(timeout_s):
            stream = await anyio.connect_tcp(host, port)
        await stream.aclose()
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except OSError as error:
        refused = isinstance(error.__cause__ or error, ConnectionRefusedError)
        return "nothing listens there" if refused else str(error.__cause__ or error)
    return None


async def check_handshake(settings: Settings, client_id: int, timeout_s: float) -> list[Finding]:
    """What the API says to a new client; takes `timeout_s` at most for the handshake, and once more for the rest."""
    config = configs.gateway(settings)
    limits = {"connect_timeout_s": timeout_s, "handshake_timeout_s": timeout_s, "io_timeout_s": timeout_s}
    inbox = Inbox(_INBOX_BYTES)
    gateway = Gateway(structs.replace(config, **limits), inbox)
    heard: list[Event] = []
    try:
        gateway.open(1, client_id)
        with anyio.move_on_after(2 * timeout_s):
            async for event in _events(gateway, inbox):
                heard.append(event)
                if isinstance(event, NextValidId):
                    gateway.send(ReqCurrentTime(req_id=1))
                if isinstance(event, CurrentTime):
                    for question in doctor_permissions.questions(settings.market_data_type):
                        gateway.send(question)
                if isinstance(event, ConnectFailed | ConnectionLost) or doctor_permissions.is_answered(event):
                    break
    finally:
        with anyio.CancelScope(shield=True):
            await gateway.aclose()
    return judged(heard, client_id, timeout_s)


async def _events(gateway: Gateway, inbox: Inbox) -> AsyncIterator[Event]:
    while True:
        for item in await inbox.get():
            if isinstance(item, FrameBatch):
                for event in gateway.decode(item):
                    yield event
            else:
                yield item


def judged(heard: list[Event], client_id: int, timeout_s: float) -> list[Finding]:
    """Findings from what was heard, in order."""
    first: dict[type[Event], Event] = {}
    for event in heard:
        first.setdefault(type(event), event)
    up = first.get(Connected)
    if not isinstance(up, Connected):
        failed = first.get(ConnectFailed)
        reason = failed.reason if isinstance(failed, ConnectFailed) else f"nothing came within {2 * timeout_s:g} s"
        taken = isinstance(failed, ConnectFailed) and failed.taken
        advice = f"{_ENABLE}; add this machine to the trusted addresses, or accept the question that TWS asks"
        return [fail("handshake", reason, advice if taken else _ENABLE)]
    out = [*_notices(heard)]
    if any(isinstance(event, ErrorNotice) and event.code == CLIENT_ID_IN_USE for event in heard):
        advice = "name a free one with --client-id; a sidecar takes the next of IBKR_CLIENT_ID_POOL"
        return [fail("handshake", f"client id {client_id} is in use (326)", advice)]
    if NextValidId not in first:
        lost = first.get(ConnectionLost)
        reason = lost.reason if isinstance(lost, ConnectionLost) else f"it said nothing for {timeout_s:g} s"
        advice = "log in to TWS or IB Gateway, close its open dialogs, and look whether the login is valid"
        return [fail("handshake", f"server version {up.server_version}, but no sign of being ready: {reason}", advice)]
    accounts = first.get(ManagedAccounts)
    count = f", {accounts.accounts} account(s)" if isinstance(accounts, ManagedAccounts) else ""
    out.insert(0, ok("handshake", f"server version {up.server_version}, client id {client_id}{count}"))
    clock = first.get(CurrentTime)
    if not isinstance(clock, CurrentTime):
        return [*out, _no_clock(timeout_s)]
    return [*out, _clock(clock), doctor_permissions.judged(heard, timeout_s)]


def _notices(heard: list[Event]) -> list[Finding]:
    """Farms that are not up; what says that all is well is left out."""
    out, seen = [], set()
    for event in heard:
        if not isinstance(event, ErrorNotice) or event.code in seen:
            continue
        if event.code in (1100, 2103, 2105, 2110, 2157):
            seen.add(event.code)
            advice = "wait for IB, or look at the network and the login of TWS or IB Gateway"
            out.append(warn("farms", f"IB says ({event.code}): {event.message}", advice))
    return out


def _clock(time: CurrentTime) -> Finding:
    offset_ms = (time.time_ns - time.received_ns) / 1e6
    told = f"the gateway's clock is {abs(offset_ms):.0f} ms {'ahead' if offset_ms > 0 else 'behind'}"
    if time.time_ns % 10**9 == 0:
        told += " (it tells whole seconds)"
    if abs(offset_ms) > CLOCK_WARN_MS:
        return warn("clock", told, "synchronise both clocks (chrony, ntpd, w32tm); history and sessions go by them")
    return ok("clock", told)


def _no_clock(timeout_s: float) -> Finding:
    advice = "the gateway is ready but slow; look at its load, and try again"
    return warn("clock", f"the gateway did not tell its time within {timeout_s:g} s", advice)
