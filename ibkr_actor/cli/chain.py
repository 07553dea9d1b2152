"""`ibkr-actor chain UNDERLYING`: the options on it, as a table of what stands now or as records as they come.

Which options those are is the sidecar's to say; the lines they take are given back at the end.
"""

from __future__ import annotations

import argparse
import os
from itertools import groupby
from typing import Any, Final

import anyio
from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import Refused as NoGo
from ibkr_actor.cli.asking import refuse, require_sidecar, table
from ibkr_actor.cli.following import follow
from ibkr_actor.cli.process import log_to_stderr
from ibkr_actor.client import Client, MarketDataError
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import ChainWindow, Option

HEAD: Final = ("bid", "ask", "vol", "delta", "CALL", "strike", "PUT", "bid", "ask", "vol", "delta")


def main(arguments: argparse.Namespace) -> int:
    """0 at Ctrl-C, the count, or a table; 1 when it was refused or nothing came; 2 for what was wrong."""
    log_to_stderr("warning")  # a Redis that is away is waited for, and said
    return with_redis(_chain, arguments, follows=True)


async def _chain(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    try:
        await require_sidecar(redis, keys)
        async with Client(
            redis, client=f"chain-{os.getpid()}", prefix=keys.prefix, gateway=keys.gateway, timeout_s=arguments.timeout
        ) as client:
            feed = client.chain(
                arguments.instrument,
                expiry=expiry_of(arguments.expiry),
                moneyness_range=arguments.moneyness,
                strike_range=strikes_of(arguments.strikes),
                right=arguments.right,
                exchange=arguments.exchange,
                trading_class=arguments.trading_class,
                lines=arguments.lines,
            )
            if arguments.follow or arguments.json:
                return await follow(feed, as_json=arguments.json, count=arguments.count)
            return await _once(feed, arguments)
    except (NoGo, MarketDataError) as error:
        return refuse(error)


async def _once(feed: Any, arguments: argparse.Namespace) -> int:
    """Reads until every member has been heard of, or the time is over; what is there is printed then."""
    window: ChainWindow | None = None
    options: dict[int, Option] = {}
    with anyio.move_on_after(arguments.timeout):
        async for item in feed:
            if isinstance(item.record, ChainWindow):
                window = item.record
            elif isinstance(item.record, Option):
                options[item.record.con_id] = item.record
            if window is not None and (_is_empty(window) or len(within(window, options)) >= window.members > 0):
                break
    found = within(window, options) if window is not None else []
    if window is not None and _is_empty(window):
        spot = "unknown" if window.spot is None else f"{window.spot:.10g}"
        why = f"no listed option lies in the window: the price of the underlying is {spot}"
        raise NoGo(f"{arguments.instrument}: {why}")
    if window is None or not found:
        raise NoGo(f"{arguments.instrument}: no data of any option within {arguments.timeout:g} s: is the market open?")
    print("\n".join(text(window, found)), flush=True)
    return 0


def _is_empty(window: ChainWindow) -> bool:
    """Whether options are listed, but none where the price is."""
    return window.reason == "empty"


def within(window: ChainWindow, options: dict[int, Option]) -> list[Option]:
    """The members of the chain as it is now; what has left the window is no more."""
    expiries, strikes = set(window.expiries), set(window.strikes)
    return [each for each in options.values() if each.expiry in expiries and each.strike in strikes]


def text(window: ChainWindow, options: list[Option]) -> list[str]:
    """A table for each expiry, calls to the left of the strike and puts to the right."""
    spot = "-" if window.spot is None else f"{window.spot:.10g}"
    out = [f"underlying {spot}, {len(options)} of {window.members} options with data, {window.lines} lines"]
    ordered = sorted(options, key=lambda each: (each.expiry, each.strike))
    for expiry, members in groupby(ordered, key=lambda each: each.expiry):
        rows = []
        for strike, pair in groupby(members, key=lambda each: each.strike):
            sides = {each.right[:1]: each for each in pair}
            call, put = (_side(sides.get(right)) for right in ("C", "P"))
            rows.append((*call, "", f"{strike:.10g}", "", *put))
        out += ["", expiry, *table(HEAD, rows)]
    return out


def _side(option: Option | None) -> tuple[str, str, str, str]:
    if option is None:
        return "-", "-", "-", "-"
    values = (option.bid, option.ask, option.implied_vol, option.delta)
    forms = ("{:.10g}", "{:.10g}", "{:.1%}", "{:.2f}")
    bid, ask, vol, delta = (
        "-" if value is None else form.format(value) for value, form in zip(values, forms, strict=True)
    )
    return bid, ask, vol, delta


def expiry_of(given: str) -> str | int | list[str]:
    """`nearest`, `all`, a day, days with commas, or a number of expiries."""
    if "," in given:
        return [each for each in given.split(",") if each]
    return int(given) if given.isdigit() and len(given) < 8 else given


def strikes_of(given: str | None) -> tuple[float, float] | None:
    """`180,220`.

    Raises:
        ConfigurationError: it is no pair of numbers.
    """
    if given is None:
        return None
    try:
        low, high = (float(part) for part in given.split(","))
    except ValueError:
        raise ConfigurationError(f"--strikes {given}: two numbers with a comma between them, such as 180,220") from None
    return low, high
