"""Owns what a query asks for, and the choice among the contracts that IB names for it.

Asks nothing and remembers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct, structs

from ibkr_actor.schema.instruments import Contract, InstrumentQuery, instrument_id, parse_instrument, with_defaults


class Choice(Struct, frozen=True):
    """`contract` when exactly one is meant; else `candidates`, empty when none fits."""

    contract: Contract | None
    candidates: tuple[Contract, ...] = ()


def choose(query: InstrumentQuery, matches: Sequence[Contract], claimant: Callable[[Contract], bool]) -> Choice:
    """The one contract that is meant. `claimant` tells whether a contract's con_id owns its plain canonical id."""
    if query.legs:
        return Choice(_combination(query, matches[0]) if matches else None)
    fitting = [contract for contract in matches if fits(query, contract)]
    if not fitting:
        return Choice(None)
    if len({contract.con_id for contract in fitting}) > 1:
        fitting = _narrowed(query, fitting)
    if len({contract.con_id for contract in fitting}) > 1:
        owners = [contract for contract in fitting if claimant(contract)]
        same_name = len({_name(contract) for contract in fitting}) == 1
        if not (same_name and owners):
            return Choice(None, tuple(fitting))
        fitting = owners
    return Choice(_listing(query, fitting))


def _combination(query: InstrumentQuery, leg: Contract) -> Contract:
    """IB has no details of a combination; it trades when its legs do, of which one was looked up."""
    contract = Contract(
        0,
        query.symbol,
        "BAG",
        query.exchange,
        query.currency,
        trading_hours=leg.trading_hours,
        liquid_hours=leg.liquid_hours,
        time_zone=leg.time_zone,
        legs=query.legs,
    )
    return structs.replace(contract, instrument=instrument_id(contract))


def unaskable(query: InstrumentQuery) -> str | None:
    """Why IB cannot be asked for what is not known here."""
    if query.sec_type == "BAG" and not query.legs:
        return f"{query.local_symbol} is no combination that was named here; name its legs"
    return None


def fits(query: InstrumentQuery, contract: Contract) -> bool:
    """Whether a contract is what the query says, where it says something that IB does not rewrite."""
    return (
        (not query.con_id or query.con_id == contract.con_id)
        and (not query.sec_type or query.sec_type in (contract.sec_type, "CONTFUT"))
        and (not query.currency or not contract.currency or query.currency == contract.currency)
        and (not query.con_id or not query.symbol or query.symbol.upper() == contract.symbol.upper())
        and (not query.last_trade_date or contract.last_trade_date.startswith(query.last_trade_date[:6]))
        and (not query.right or query.right[:1].upper() == contract.right[:1].upper())
        and (not query.sec_id or query.sec_id == dict(contract.sec_ids).get(query.sec_id_type, query.sec_id))
        and (query.strike is None or contract.strike is None or query.strike == contract.strike)
    )


def _narrowed(query: InstrumentQuery, contracts: list[Contract]) -> list[Contract]:
    """Those that say exactly what the query says; a field that would exclude all of them is left aside."""
    for field in (
        "symbol",
        "exchange",
        "primary_exchange",
        "local_symbol",
        "trading_class",
        "multiplier",
        "last_trade_date",
    ):
        wanted = getattr(query, field)
        exact = [contract for contract in contracts if getattr(contract, field) == wanted] if wanted else []
        contracts = exact or contracts
    return contracts


def _listing(query: InstrumentQuery, contracts: list[Contract]) -> Contract:
    """One contract is listed at several exchanges: the asked one, else SMART, else its primary exchange."""
    for exchange in (query.exchange, "SMART", contracts[0].primary_exchange):
        for contract in contracts:
            if exchange and contract.exchange == exchange:
                return contract
    return contracts[0]


def _name(contract: Contract) -> tuple[object, ...]:
    return (
        contract.symbol,
        contract.sec_type,
        contract.exchange,
        contract.currency,
        contract.last_trade_date,
        contract.strike,
        contract.right,
        contract.trading_class,
    )


def asked_for(instrument: str | InstrumentQuery) -> InstrumentQuery:
    """What a command's instrument asks for, in one form however it was written."""
    query = with_defaults(parse_instrument(instrument) if isinstance(instrument, str) else instrument)
    for name in ("primary_exchange", "local_symbol", "trading_class", "multiplier"):
        if getattr(query, name) == "":
            query = structs.replace(query, **{name: None})
    return query


def wire_query(query: InstrumentQuery) -> InstrumentQuery:
    """What IB is asked: a con_id says all but the exchange; the other fields are checked against its answer.

    Of a combination, of which IB has no details, one leg is asked for.
    """
    if query.legs:
        return InstrumentQuery(con_id=query.legs[0].con_id, exchange=query.legs[0].exchange)
    return InstrumentQuery(con_id=query.con_id, exchange=query.exchange) if query.con_id else query


def guessed(query: InstrumentQuery) -> Contract:
    """What the words of a query say by themselves, with the id they would get. IB was not asked."""
    guess = Contract(
        con_id=query.con_id,
        symbol=query.symbol,
        sec_type=query.sec_type,
        exchange=query.exchange,
        currency=query.currency,
        trading_class=query.trading_class or "",
        last_trade_date=query.last_trade_date,
        strike=query.strike,
        right=query.right,
    )
    return structs.replace(guess, instrument=instrument_id(guess, with_con_id=query.con_id != 0))
