"""A gateway name that is wrong, told at once with those there are; and errors that say what they are about."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.client import Client, NoAnswer
from ibkr_actor.client.calls import refusal
from ibkr_actor.client.errors import error_of
from ibkr_actor.client.gateways import told
from ibkr_actor.schema.commands import Rejection, Resolve, StatusCommand
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from ibkr_actor.schema.keys import Keys

pytestmark = pytest.mark.anyio


async def keys_of(redis: Redis, root: str) -> list[bytes]:
    return [key async for key in redis.scan_iter(match=f"{root}*")]


async def test_a_gateway_that_never_was_is_told_at_once_where_there_are_others(
    redis: Redis, keys: Keys, config: BusConfig
) -> None:
    await redis.set(keys.heartbeat, "{}")
    # A time-out far above the deadline of the test: waiting for it would fail.
    async with Client(config.redis.url, gateway="typo", timeout_s=3_600) as client:
        with pytest.raises(NoAnswer, match=rf"no sidecar publishes for ibkr:{{typo}}.*gateway '{keys.gateway}'"):
            await client.status()
        with pytest.raises(NoAnswer, match="is the gateway name right"):
            async with client.quotes("AAPL"):
                raise AssertionError
        with pytest.raises(NoAnswer, match="is the gateway name right"):
            await anext(aiter(client.history("AAPL", start="2026-01-05")))
    assert await keys_of(redis, "ibkr:{typo}") == []


async def test_a_gateway_of_another_prefix_is_named_with_it(redis: Redis, keys: Keys, config: BusConfig) -> None:
    await redis.set(keys.heartbeat, "{}")
    async with Client(config.redis.url, prefix="typo", gateway=keys.gateway, timeout_s=3_600) as client:
        with pytest.raises(NoAnswer, match=rf"gateway '{keys.gateway}' with the prefix 'ibkr'"):
            await client.status()


async def test_a_sidecar_that_was_there_before_is_waited_for(redis: Redis, keys: Keys, config: BusConfig) -> None:
    await redis.set(keys.epoch, 3)
    await redis.set(Keys(keys.prefix, f"{keys.gateway}-other").heartbeat, "{}")
    async with Client(config.redis.url, gateway=keys.gateway, timeout_s=1.0) as client:
        with pytest.raises(NoAnswer, match=r"no answer to 'status' within .* s: is a sidecar running"):
            await client.call(StatusCommand())
    assert await redis.xlen(keys.commands()) == 1


def test_where_nobody_publishes_at_all_the_start_is_named() -> None:
    assert told(Keys(), []).endswith("start one with `ibkr-actor run`")
    assert told(Keys(), [Keys("ibkr", f"g{number}") for number in range(20)]).count("gateway 'g") == 8


VOD = [Contract(1, "VOD", "STK", "LSE", "GBP"), Contract(2, "VOD", "STK", "NASDAQ", "USD")]


@pytest.mark.parametrize(
    ("instrument", "rejection", "text"),
    [
        (
            "NOPE",
            Rejection("invalid_instrument", "no such contract", 200),
            "invalid_instrument: NOPE: no such contract; `ibkr-actor search` finds what there is",
        ),
        (
            "VOD",
            Rejection("ambiguous_instrument", "several contracts fit", candidates=VOD),
            "ambiguous_instrument: VOD: several contracts fit; say which: con_id 1 (STK LSE GBP), "
            "con_id 2 (STK NASDAQ USD)",
        ),
        (
            InstrumentQuery(symbol="ES", sec_type="FUT"),
            Rejection("busy", "too much is waiting", None, True, 2.5),
            "busy: symbol=ES sec_type=FUT: too much is waiting; try again in 2.5 s",
        ),
        (
            "AAPL.STK.SMART.USD",
            Rejection("permissions_missing", "AAPL.STK.SMART.USD is not subscribed", 354),
            "permissions_missing: AAPL.STK.SMART.USD is not subscribed; subscribe to these data at IB, or ask for "
            "delayed ones (feed delayed)",
        ),
    ],
)
def test_an_error_names_the_code_the_instrument_and_what_to_do(
    instrument: Any, rejection: Rejection, text: str
) -> None:
    assert str(refusal(Resolve(instrument=instrument), rejection)) == text


def test_an_error_about_no_instrument_has_none() -> None:
    assert str(refusal(StatusCommand(), Rejection("expired", "too late"))) == "expired: too late"
    assert error_of(Rejection("line_limit", "no line is free", None, True)).advice.startswith("give lines back")
