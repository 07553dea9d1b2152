"""Owns `IBKRProvider`: market-data-core's MarketDataProvider over a sidecar, in this process or elsewhere.

Reads Redis only: what is asked of IB, when and how often, is the sidecar's to decide.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import anyio
from market_data_core import (
    Instrument,
    InvalidInstrument,
    MarketDataProvider,
    OptionSnapshot,
    PacingViolation,
    TemporaryUnavailable,
    ValidationError,
)

from ibkr_actor.client.items import AnyItem, Item
from ibkr_actor.client.opening import Start
from ibkr_actor.provider import mapping
from ibkr_actor.provider.errors import handle_ib_error
from ibkr_actor.provider.metrics import ibkr_ticks_total
from ibkr_actor.provider.models import IBKRBar, IBKRQuote, IBKRTrade
from ibkr_actor.provider.options import checked, stream_chain
from ibkr_actor.provider.pacing import PacingManager
from ibkr_actor.provider.pump import Pump
from ibkr_actor.provider.session import IBKRSessionManager
from ibkr_actor.provider.settings import IBKRSettings
from ibkr_actor.schema.commands import ClearCooldown, FeedName
from ibkr_actor.schema.instruments import InvalidInstrumentText
from ibkr_actor.schema.keys import KINDS
from ibkr_actor.schema.records import Bar, Bars, Quote, Trade

log = logging.getLogger(__name__)

_FEEDS: Final[dict[int, FeedName]] = {1: "live", 2: "frozen", 3: "delayed", 4: "delayed_frozen"}
# Reasons of a hole for which asking again may help, after which what came is not the answer.
# Sizes of bars that IB dates instead of timing them.
DATED = frozenset({"1d", "1w", "1M"})
_NOT_ANSWERED = frozenset({"no_answer", "refused"})


class IBKRProvider(MarketDataProvider):
    """Market data of Interactive Brokers with market-data-core's models and errors.

    `async with IBKRProvider(settings) as provider:` connects; any number of tasks may do so with one provider, and the
    last to leave closes it. The methods are async generators: `async for quote in provider.stream_quotes([...])`.
    Each loop has its own instruments, and leaving it gives its lines back.
    """

    def __init__(self, settings: IBKRSettings | None = None) -> None:
        self.settings = settings or IBKRSettings()
        self.session = IBKRSessionManager(self.settings)
        self.pacing = PacingManager(self.settings.hist_pacing_window_sec, on_clear=self._clear_cooldown)
        self._users = 0

    async def __aenter__(self) -> Self:
        self._users += 1
        try:
            await self.session.connect()
        except BaseException:
            self._users -= 1
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        if self._users == 0:
            await self.close()

    async def close(self) -> None:
        """Ends every loop, gives back all lines and closes the connection. A later call of a method connects anew."""
        await self.session.disconnect()

    # ---- live

    async def stream_quotes(self, instruments: Iterable[Instrument]) -> AsyncGenerator[IBKRQuote]:
        """Every change of the top of book, from the present one on; with `snapshot_mode` one quote each.

        Raises:
            InvalidInstrument, PermissionsMissing, PacingViolation (no line is free), ConnectionFailed.
        """
        wanted = list(instruments)
        await self.session.ensure_connected()
        symbols = await self._resolved(wanted)
        if self.settings.snapshot_mode:
            async for quote in self._snapshots(symbols):
                yield quote
            return
        async with aclosing(self._items("quote", symbols, start="last")) as items:
            async for item in items:
                if isinstance(item.record, Quote):
                    symbol = symbols[item.instrument]
                    ibkr_ticks_total.labels(symbol=symbol).inc()
                    yield mapping.to_quote(item.record, symbol, item.instrument)

    async def stream_bars(self, resolution: str, instruments: Iterable[Instrument]) -> AsyncGenerator[IBKRBar]:
        """Each finished bar once, as long as `resolution` says (`5s`, `1m`, ...); `ts` is its end.

        Raises:
            ValidationError: there are no such live bars. Else as `stream_quotes`.
        """
        wanted = list(instruments)
        mapping.parse_ibkr_resolution(resolution)
        kind = f"bar.{resolution}"
        if kind not in KINDS:
            sizes = ", ".join(name.removeprefix("bar.") for name in KINDS if name.count(".") == 1 and "bar." in name)
            message = f"there are no live bars of {resolution!r}, only of {sizes}"
            raise ValidationError(message, field="resolution", value=resolution)
        await self.session.ensure_connected()
        symbols = await self._resolved(wanted)
        async with aclosing(self._items(kind, symbols, start="now")) as items:
            async for item in items:
                if isinstance(item.record, Bar) and item.record.final:
                    bar = mapping.to_bar(item.record, symbols[item.instrument], resolution, item.instrument)
                    if bar is not None:
                        yield bar

    async def stream_trades(self, instruments: Iterable[Instrument]) -> AsyncGenerator[IBKRTrade]:
        """Every trade, tick by tick.

        Raises:
            NonRetryableProviderError: IB has no trades of it (forex). Else as `stream_quotes`.
        """
        wanted = list(instruments)
        await self.session.ensure_connected()
        symbols = await self._resolved(wanted)
        async with aclosing(self._items("trade", symbols, start="now")) as items:
            async for item in items:
                if isinstance(item.record, Trade):
                    trade = mapping.to_trade(item.record, symbols[item.instrument], item.instrument)
                    if trade is not None:
                        yield trade

    async def stream_options(
        self,
        instrument: Instrument,
        expiry: str | None = None,
        strike_range: tuple[float, float] | None = None,
        moneyness_range: float = 0.2,
    ) -> AsyncGenerator[OptionSnapshot]:
        """The options of an underlying, each whenever its quote or its greeks change.

        `expiry` is YYYYMMDD, the nearest when left out. `strike_range` is inclusive; without it strikes lie within
        `moneyness_range` of the underlying's price (0.2 is 20 percent either way), `options_max_contracts` at most.
        """
        checked(expiry, strike_range, moneyness_range)
        await self.session.ensure_connected()
        (underlying,) = await self._resolved([instrument])
        client = self.session.client
        chain = stream_chain(client, self.settings, underlying, expiry, strike_range, moneyness_range)
        async with aclosing(Pump(self.session, lambda: chain).batches()) as batches:
            async for batch in batches:
                for snapshot in batch:
                    yield snapshot.model_copy(update={"symbol": instrument.symbol})

    # ---- history

    async def request_historical_bars(
        self, instrument: Instrument, start: datetime, end: datetime, resolution: str
    ) -> AsyncGenerator[IBKRBar]:
        """Every bar that lies wholly within [start, end], oldest first; `ts` is its end.

        Of bars of a day and more every one that ends within: a trade date may begin days before it, after a holiday.
        A time without a zone is local time, as `datetime.now()` gives it. Bars are of regular hours unless
        `use_rth=False` in the settings, and of what IB has for the type of security (trades, midpoints, ...).

        Raises:
            ValidationError: unknown resolution, or an end before the start.
            PacingViolation: IB says that too much was asked; `retry_after_sec` says when it makes sense again.
            TemporaryUnavailable: a part was not answered; the bars before that were yielded.
        """
        mapping.parse_ibkr_resolution(resolution)
        since, until = _utc(start), _utc(end)
        if until < since:
            raise ValidationError(f"end {end} is before start {start}", field="end", value=end)
        scope = f"hist_{instrument.symbol}"
        left_s = self.pacing.remaining_s(scope)
        if left_s:
            message = f"history of {instrument.symbol} is in cooldown; pacing.clear_cooldown({scope!r}) ends it"
            raise PacingViolation(message, retry_after_sec=int(left_s) + 1, scope=scope)
        await self.session.ensure_connected()
        source = self._past(_query(instrument), instrument.symbol, since, until, resolution)
        async with aclosing(Pump(self.session, lambda: source).batches()) as batches:
            try:
                async for batch in batches:
                    for bar in batch:
                        yield bar
            except PacingViolation as error:
                error.scope = scope
                await self.pacing.trigger_cooldown(scope, error.retry_after_sec)
                raise

    async def _past(
        self, query: Any, symbol: str, since: datetime, until: datetime, resolution: str
    ) -> AsyncIterator[list[IBKRBar]]:
        dated = resolution in DATED
        start, end = (str(at.date()) if dated else _iso(at) for at in (since, until))
        job = self.session.client.history(query, start=start, end=end, bar=resolution, use_rth=self.settings.use_rth)
        async for batch in job.batches():
            if isinstance(batch, Bars):
                bars = mapping.to_past_bars(batch, symbol, resolution)
                yield [bar for bar in bars if not dated or since < bar.ts <= until]
        for hole in job.done.holes if job.done is not None else ():
            text = f"{mapping.utc(hole.from_ns)} to {mapping.utc(hole.to_ns)}: {hole.reason} {hole.message}".strip()
            if hole.reason in _NOT_ANSWERED:
                raise TemporaryUnavailable(f"no bars of {symbol} from {text}", code=hole.reason.upper())
            log.warning("no_bars symbol=%s hole=%r", symbol, text)

    # ---- what all have in common

    async def _resolved(self, instruments: list[Instrument]) -> dict[str, str]:
        """Canonical id -> the symbol it was asked for by."""
        if not instruments:
            raise ValidationError("no instruments", field="instruments")
        found: dict[int, str] = {}

        async def one(number: int, instrument: Instrument) -> None:
            found[number] = (await self.session.client.resolve(_query(instrument))).instrument

        try:
            async with anyio.create_task_group() as tasks:
                for number, instrument in enumerate(instruments):
                    tasks.start_soon(one, number, instrument)
        except* Exception as group:  # noqa: BLE001  # all of it is turned into a canonical error
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            canonical = handle_ib_error(error)
        else:
            return {found[number]: instrument.symbol for number, instrument in enumerate(instruments)}
        raise canonical

    async def _items(self, kind: str, symbols: dict[str, str], *, start: Start) -> AsyncGenerator[Item[AnyItem]]:
        """The items of one kind of these instruments, for one loop."""
        client = self.session.client

        async def source() -> AsyncIterator[list[Item[AnyItem]]]:
            feed = client.stream([kind], *symbols, start=start, feed=self._feed(kind))
            async with feed:
                while True:
                    yield await feed.read()

        async with aclosing(Pump(self.session, source).batches()) as batches:
            async for batch in batches:
                for item in batch:
                    yield item

    def _feed(self, kind: str) -> FeedName:
        """The market data type, where it was said: a sidecar that runs has one of its own for all others."""
        said = "market_data_type" in self.settings.model_fields_set and self.settings.redis_url is not None
        return _FEEDS[self.settings.market_data_type] if said and kind == "quote" else ""

    async def _snapshots(self, symbols: dict[str, str]) -> AsyncIterator[IBKRQuote]:
        for instrument, symbol in symbols.items():
            try:
                values = await self.session.client.snapshot(instrument)
            except Exception as error:  # whatever it is: a provider raises canonical errors only
                raise handle_ib_error(error) from error
            yield mapping.snapshot_to_quote(values, symbol)

    async def _clear_cooldown(self, scope: str) -> None:
        """Clears the sidecar's too: it is there that IB's limits are kept. IB's count for the whole login."""
        if self.session.is_connected():
            await self.session.client.call(ClearCooldown())


def _query(instrument: Instrument) -> Any:
    try:
        return mapping.to_query(instrument)
    except InvalidInstrumentText as error:
        raise InvalidInstrument(str(error)) from error


def _utc(at: datetime) -> datetime:
    """A time without a zone is local, as everywhere in Python."""
    return at.astimezone(UTC)


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
