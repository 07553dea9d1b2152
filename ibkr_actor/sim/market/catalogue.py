"""Owns which instruments the simulated market has on a day, and finding those a client means.

Must not know prices over time, sessions or messages.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from ibkr_actor.sim.market import chains, futures
from ibkr_actor.sim.market.expiries import stamp
from ibkr_actor.sim.market.instruments import ContractSpec, Instrument, Leg, split_key
from ibkr_actor.sim.market.listed import listed_instruments
from ibkr_actor.sim.market.matching import expiry_of, fits, right_of, says_enough

Today = Callable[[], datetime.date]
# con_ids of what a replay or a test adds, and of combinations.
_FIRST_ADDED_CON_ID = 910_000_000
_FIRST_COMBINATION_CON_ID = 940_000_000
_COMBINATIONS = 60_000_000
# `AAPL  261218C00230000`. Source: OCC Options Symbology Initiative.
_OCC = re.compile(r"\S{1,6} *(\d{6})([CP])(\d{8})")
_DERIVATIVES = frozenset({"FUT", "CONTFUT", "FUT+CONTFUT", "OPT", "FOP", "WAR"})


class UnknownInstrument(KeyError):
    """There is no instrument of this name."""

    def __str__(self) -> str:
        return f"there is no instrument {self.args[0]!r}"


class OptionParameters(NamedTuple):
    """One row of an option chain's outline: every expiry (YYYYMMDD) and every strike, on one exchange."""

    exchange: str
    underlying_con_id: int
    trading_class: str
    multiplier: str
    expirations: tuple[str, ...]
    strikes: tuple[float, ...]


def utc_today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


class Catalogue:
    """Instruments that are always there, which may be added to, and derivatives, made when they are asked for.

    `today` gives the day that decides what is listed and what has expired.
    """

    def __init__(
        self, instruments: Iterable[Instrument], today: Today = utc_today, *, derivatives: bool = True
    ) -> None:
        self._by_con_id: dict[int, Instrument] = {}
        self._by_symbol: dict[str, set[int]] = {}
        self._today = today
        self._added = 0
        for instrument in instruments:
            self.add(instrument)

    def add(self, instrument: Instrument) -> None:
        """Raises: ValueError when the con_id is taken by something else."""
        if self._by_con_id.setdefault(instrument.con_id, instrument) != instrument:
            raise ValueError(f"con_id {instrument.con_id} is taken")
        self._by_symbol.setdefault(instrument.symbol, set()).add(instrument.con_id)

    def all(self) -> list[Instrument]:
        """Those that are always there."""
        return list(self._by_con_id.values())

    def instrument(self, con_id: int) -> Instrument:
        """By con_id, listed or not. A continuous future has one of its own, which clients never see.

        Raises: KeyError when there is none.
        """
        found = self._by_con_id.get(con_id)
        if found is None:
            found = futures.by_con_id(con_id, self._today()) or chains.by_con_id(con_id)
        if found is None:
            raise UnknownInstrument(con_id)
        return found

    def front(self, continuous: Instrument, day: datetime.date) -> Instrument:
        """The future a continuous future means on a day. Raises: KeyError for any other type."""
        return futures.front(futures.number_of(continuous), day)

    def match(self, spec: ContractSpec, at_most: int | None = None) -> list[Instrument]:
        """The instruments the description fits: those always there by con_id, then futures, then options."""
        return list(islice(self.matches(spec), at_most))

    def matches(self, spec: ContractSpec) -> Iterator[Instrument]:
        """The same one by one, for descriptions that may fit tens of thousands."""
        if spec.sec_type == "BAG":
            yield from self._combination(spec)
            return
        if not says_enough(spec):
            return
        today = self._today()
        candidates = self._of_con_id(spec) if spec.con_id else self._candidates(spec, today)
        yield from (each for each in candidates if fits(each, spec, today))

    def samples(self, pattern: str, at_most: int = 16) -> tuple[Instrument, ...]:
        """Instruments whose symbol begins with, or whose name contains, `pattern`. Source: reqMatchingSymbols, 16."""
        wanted = pattern.strip().upper()
        if not wanted:
            return ()
        known = [each for each in self.all() if each.sec_type in ("STK", "IND", "CASH", "CRYPTO", "FUND", "BOND")]
        starts = [each for each in known if each.symbol.startswith(wanted)]
        named = [each for each in known if wanted in each.long_name.upper() and not each.symbol.startswith(wanted)]
        return tuple((starts + named)[:at_most])

    def option_parameters(self, under_con_id: int, exchange: str = "") -> list[OptionParameters]:
        """The outline of the chains on an underlying, by trading class and exchange; `exchange` narrows FOPs."""
        rows = []
        for number, root in enumerate(chains.ROOTS):
            days = self._option_days(number, root, under_con_id)
            if not days or root.sec_type == "WAR" or (root.sec_type == "FOP" and exchange not in ("", root.exchange)):
                continue
            outline = (
                tuple(stamp(day) for day in days),
                tuple(sorted({strike for day in days for strike in chains.strikes(number, day)})),
            )
            rows += [
                OptionParameters(venue, under_con_id, root.trading_class, root.multiplier, *outline)
                for venue in root.valid_exchanges.split(",")
            ]
        return rows

    def find(self, name: str | int | Instrument) -> Instrument:
        """By con_id, key (`AAPL.STK.SMART.USD`), forex pair (`EUR.USD`), symbol, or local symbol of a derivative.

        Raises: UnknownInstrument, a KeyError, when there is none.
        """
        if isinstance(name, Instrument):
            return name
        if isinstance(name, int):
            return self.instrument(name)
        for each in self._by_con_id.values():
            if name in (each.key, each.symbol) or (each.sec_type == "CASH" and name == each.local_symbol):
                return each
        for spec in (_spec_of_key(name), ContractSpec(local_symbol=name, include_expired=True)):
            found = [] if spec is None else self.match(spec, 1)
            if found:
                return found[0]
        raise UnknownInstrument(name)

    def named(self, name: str | int | Instrument) -> frozenset[int]:
        """con_ids of all that a name means. A symbol means whatever has it, listed futures too, but no options.

        Raises: UnknownInstrument when there is none.
        """
        if isinstance(name, str):
            today = self._today()
            found = set(self._by_symbol.get(name, ()))
            for number, root in enumerate(futures.ROOTS):
                if root.symbol == name:
                    found.add(futures.continuous(number, today).con_id)
                    found.update(each.con_id for each in futures.listed(number, today))
            if found:
                return frozenset(found)
        return frozenset({self.find(name).con_id})

    def find_or_add(self, key: str) -> Instrument:
        """The instrument of a `SYMBOL.TYPE.EXCHANGE.CURRENCY` key, made with plain values when it is new.

        Raises: ValueError when the key has not four parts.
        """
        try:
            return self.find(key)
        except KeyError:
            pass
        symbol, sec_type, exchange, currency = split_key(key)
        made = Instrument(
            con_id=_FIRST_ADDED_CON_ID + self._added,
            symbol=symbol,
            sec_type=sec_type,
            exchange=exchange,
            currency=currency,
            local_symbol=symbol,
            trading_class=symbol,
            market_name=symbol,
            long_name=f"{symbol} ({exchange})",
            primary_exchange="" if exchange == "SMART" else exchange,
            valid_exchanges=exchange if exchange == "SMART" else f"SMART,{exchange}",
        )
        self._added += 1
        self.add(made)
        return made

    def _of_con_id(self, spec: ContractSpec) -> Iterator[Instrument]:
        """At most one. A continuous future is known to clients by the con_id of its front month."""
        try:
            found = self.instrument(spec.con_id)
        except KeyError:
            return
        if found.sec_type == "FUT" and spec.sec_type == "CONTFUT":
            shown = futures.continuous(futures.number_of(found), self._today())
            if shown.shown_con_id == found.con_id:
                yield shown
        elif found.sec_type != "CONTFUT":
            yield found

    def _candidates(self, spec: ContractSpec, today: datetime.date) -> Iterator[Instrument]:
        """Everything a description without con_id could mean; chains narrowed to its symbol and terms."""
        yield from sorted(self._by_con_id.values(), key=lambda each: each.con_id)
        if spec.sec_id or not (spec.sec_type in _DERIVATIVES or spec.local_symbol):
            return
        for number, root in enumerate(futures.ROOTS):
            if spec.symbol in ("", root.symbol) and spec.local_symbol.startswith(root.local[: len(spec.local_symbol)]):
                if "CONTFUT" in spec.sec_type:
                    yield futures.continuous(number, today)
                if spec.sec_type in ("", "FUT", "FUT+CONTFUT"):
                    yield from futures.listed(number, today, expired=spec.include_expired)
        terms = _option_terms(spec)
        if terms is None:
            return
        for number, option in enumerate(chains.ROOTS):
            if spec.sec_type in ("", option.sec_type) and _may_mean(spec, option):
                yield from chains.listed(number, today, terms)

    def _combination(self, spec: ContractSpec) -> Iterator[Instrument]:
        """A combination of instruments that exist; it has no con_id of its own at IB, here one made of its legs."""
        try:
            legs = [self.instrument(leg.con_id) for leg in spec.legs]
        except KeyError:
            return
        if not legs or any(leg.ratio < 1 or leg.action not in ("BUY", "SELL") for leg in spec.legs):
            return
        first = legs[0]
        yield msgspec.structs.replace(
            first,
            con_id=_combination_con_id(spec.legs),
            symbol=spec.symbol or first.symbol,
            sec_type="BAG",
            exchange=spec.exchange or "SMART",
            currency=spec.currency or first.currency,
            primary_exchange="",
            local_symbol=spec.symbol or first.symbol,
            trading_class="COMB",
            market_name="COMB",
            valid_exchanges=spec.exchange or "SMART",
            legs=spec.legs,
            price_model="legs",
            price_con_id=0,
            expiry="",
            contract_month="",
            strike=0.0,
            right="",
            multiplier="",
            isin="",
            cusip="",
            figi="",
            has_depth=False,
        )

    def _option_days(self, number: int, root: chains.OptionRoot, under_con_id: int) -> list[datetime.date]:
        days = chains.expiries(number, self._today())
        if root.future >= 0 and futures.ROOTS[root.future].under_con_id == under_con_id:
            return days
        return [day for day in days if chains.underlying_of(number, day) == under_con_id]


def _may_mean(spec: ContractSpec, root: chains.OptionRoot) -> bool:
    if spec.symbol and spec.symbol != root.symbol:
        return False
    if spec.trading_class and spec.trading_class != root.trading_class:
        return False
    prefix = root.symbol if root.sec_type == "WAR" else root.trading_class
    return not spec.local_symbol or spec.local_symbol.startswith(prefix)


def _option_terms(spec: ContractSpec) -> chains.Terms | None:
    """What a description says of expiry, strike and right, itself or in an OCC symbol; None when it makes no sense."""
    expiry, right = expiry_of(spec.last_trade_date_or_contract_month), right_of(spec.right)
    if expiry is None or right is None:
        return None
    if occ := _OCC.fullmatch(spec.local_symbol):
        return chains.Terms(f"20{occ[1]}"[:6], int(occ[3]) / 1000, occ[2])
    return chains.Terms(expiry, spec.strike, right)


def _combination_con_id(legs: tuple[Leg, ...]) -> int:
    text = "|".join(sorted(f"{leg.con_id},{leg.ratio},{leg.action},{leg.exchange}" for leg in legs))
    return _FIRST_COMBINATION_CON_ID + int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) % _COMBINATIONS


def _spec_of_key(key: str) -> ContractSpec | None:
    """What the key of a derivative says; the symbol and the strike may hold points."""
    parts = key.split(".")
    for place, part in enumerate(parts):
        if place and part == "CONTFUT" and len(parts) == place + 3:
            return ContractSpec(symbol=".".join(parts[:place]), sec_type=part, exchange=parts[-2], currency=parts[-1])
        if place and part in _DERIVATIVES and len(parts) > place + 4:
            terms = parts[place + 3 :]
            try:
                strike = float(".".join(terms[2:-1]) or 0) if len(terms) > 2 else 0.0
            except ValueError:
                return None
            return ContractSpec(
                symbol=".".join(parts[:place]),
                sec_type=part,
                exchange=parts[place + 1],
                currency=parts[place + 2],
                last_trade_date_or_contract_month=terms[0],
                right=terms[1] if len(terms) > 2 else "",
                strike=strike,
                trading_class=terms[-1],
                include_expired=True,
            )
    return None


def default_catalogue(today: Today = utc_today) -> Catalogue:
    """Everything: see docs/SIMULATOR.md for the list."""
    return Catalogue(listed_instruments(), today)
