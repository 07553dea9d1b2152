"""Owns what was resolved: contracts by query, names IB does not know, and which con_id owns a canonical id.

Decides nothing about asking IB; every change comes with the writes that keep it in Redis.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct, structs

from ibkr_actor.core.effects import Effect, WriteContract
from ibkr_actor.schema.instruments import Contract, InstrumentQuery, instrument_id

_NS_PER_S: Final = 1_000_000_000
_DATE: Final = len("YYYYMMDD")
# A day is over everywhere so much after it is in UTC.
_ANYWHERE: Final = timedelta(hours=12)
# What IB gives a continuous future as con_id is that of the future at the front.
_CONTINUOUS: Final = " CONTFUT"
# So many claims are kept for each contract that is: of 20,000 options a day, all of two weeks.
_CLAIMS_PER_ENTRY: Final = 10
_CONTRACT, _QUERY, _UNKNOWN, _CLAIM = "contract:", "query:", "unknown:", "claim:"


class KnownEntry(Struct, frozen=True):
    """A contract and when IB told it."""

    contract: Contract
    resolved_at_ns: int


class QueryEntry(Struct, frozen=True):
    """Which contract a query came to mean; `exchange` says also when it is a continuous one, see `_place`."""

    con_id: int
    exchange: str


class UnknownEntry(Struct, frozen=True):
    """That IB knows no such contract, and when and how it said so."""

    message: str
    ib_code: int | None
    resolved_at_ns: int


_encode = msgspec.json.Encoder().encode
_decode_known = msgspec.json.Decoder(KnownEntry)
_decode_query = msgspec.json.Decoder(QueryEntry)
_decode_unknown = msgspec.json.Decoder(UnknownEntry)
_decode_asked = msgspec.json.Decoder(InstrumentQuery)


def query_key(query: InstrumentQuery) -> str:
    """A query as text, the same for equal queries."""
    return _encode(query).decode()


class ContractCache:
    """Bounded, oldest out first.

    Claims on ids outlive what is known of contracts: a name must not pass on while anybody may still read its streams.
    """

    def __init__(self, *, ttl_s: float, negative_ttl_s: float, entries_max: int) -> None:
        self._ttl_ns = int(ttl_s * _NS_PER_S)
        self._negative_ttl_ns = int(negative_ttl_s * _NS_PER_S)
        self._entries_max = entries_max
        self._known: OrderedDict[tuple[int, str], KnownEntry] = OrderedDict()
        self._queries: OrderedDict[InstrumentQuery, QueryEntry] = OrderedDict()
        self._unknown: OrderedDict[InstrumentQuery, UnknownEntry] = OrderedDict()
        # canonical id -> the con_id that got it first; what was resolved longest ago stands first.
        self._claims: OrderedDict[str, int] = OrderedDict()

    def find(self, query: InstrumentQuery, now_ns: int, *, stale_too: bool = False) -> Contract | None:
        """The contract a query means, if it was resolved within the time to live, or ever with `stale_too`."""
        target = self._queries.get(query)
        entry = self._known.get((target.con_id, target.exchange)) if target is not None else None
        if entry is None:
            return None
        if not (stale_too or entry.contract.legs) and self._is_old(entry, now_ns):
            return None
        return entry.contract

    def _is_old(self, entry: KnownEntry, now_ns: int) -> bool:
        """Whether IB is to be asked anew: after the time to live, and when a dated contract's last day is over."""
        day = datetime.fromtimestamp(now_ns // _NS_PER_S, UTC) - _ANYWHERE
        last = entry.contract.last_trade_date
        return now_ns - entry.resolved_at_ns > self._ttl_ns or (len(last) == _DATE and last < f"{day:%Y%m%d}")

    def find_unknown(self, query: InstrumentQuery, now_ns: int) -> UnknownEntry | None:
        """IB's refusal of the query, while it is fresh."""
        entry = self._unknown.get(query)
        return entry if entry is not None and now_ns - entry.resolved_at_ns <= self._negative_ttl_ns else None

    def put(self, query: InstrumentQuery, contract: Contract, now_ns: int) -> tuple[Contract, list[Effect]]:
        """Remembers an answer; returns the contract with its canonical id."""
        named, effects = self._claim(contract)
        entry = KnownEntry(named, now_ns)
        place = _place(named)
        target = QueryEntry(*place)
        self._known[place] = entry
        self._known.move_to_end(place)
        self._queries[query] = target
        self._queries.move_to_end(query)
        named_by: list[InstrumentQuery] = [query]
        if named.legs:
            # A combination can be named by its id from here on.
            named_by.append(InstrumentQuery(sec_type="BAG", local_symbol=named.instrument))
            self._queries[named_by[1]] = target
        effects.append(WriteContract(_known_field(*place), _encode(entry)))
        effects += [WriteContract(_QUERY + query_key(each), _encode(target)) for each in named_by]
        if self._unknown.pop(query, None) is not None:
            effects.append(WriteContract(_UNKNOWN + query_key(query), None))
        return named, effects + self._evict()

    def put_unknown(self, query: InstrumentQuery, message: str, ib_code: int | None, now_ns: int) -> list[Effect]:
        """Remembers for a short while that IB knows no such contract."""
        entry = UnknownEntry(message, ib_code, now_ns)
        self._unknown[query] = entry
        self._unknown.move_to_end(query)
        return [WriteContract(_UNKNOWN + query_key(query), _encode(entry)), *self._evict()]

    def forget(self, con_id: int, exchange: str) -> list[Effect]:
        """Removes a contract that IB refused after all, and every query that led to it."""
        places = ((con_id, exchange), (con_id, exchange + _CONTINUOUS))
        effects: list[Effect] = [
            WriteContract(_known_field(*place), None) for place in places if self._known.pop(place, None) is not None
        ]
        for query in [query for query, to in self._queries.items() if (to.con_id, to.exchange) in places]:
            del self._queries[query]
            effects.append(WriteContract(_QUERY + query_key(query), None))
        return effects

    def owns_its_id(self, contract: Contract) -> bool:
        """Whether the contract's con_id is the one that owns its plain canonical id."""
        return self._claims.get(instrument_id(contract)) == contract.con_id

    def name(self, contract: Contract) -> str:
        """The canonical id that the contract has or would get now. A continuous future keeps its own at every roll."""
        if contract.sec_type == "CONTFUT":
            return instrument_id(contract)
        owner = self._claims.get(instrument_id(contract), contract.con_id)
        return instrument_id(contract, with_con_id=owner != contract.con_id)

    def _claim(self, contract: Contract) -> tuple[Contract, list[Effect]]:
        effects: list[Effect] = []
        plain = instrument_id(contract)
        if plain not in self._claims and contract.sec_type != "CONTFUT":
            self._claims[plain] = contract.con_id
            effects.append(WriteContract(_CLAIM + plain, str(contract.con_id).encode()))
        if self._claims.get(plain) == contract.con_id:
            self._claims.move_to_end(plain)
        return structs.replace(contract, instrument=self.name(contract)), effects

    def _evict(self) -> list[Effect]:
        effects: list[Effect] = []
        while len(self._known) > self._entries_max:
            (con_id, exchange), _ = self._known.popitem(last=False)
            effects.append(WriteContract(_known_field(con_id, exchange), None))
        while len(self._queries) > self._entries_max:
            query, _ = self._queries.popitem(last=False)
            effects.append(WriteContract(_QUERY + query_key(query), None))
        while len(self._unknown) > self._entries_max:
            query, _ = self._unknown.popitem(last=False)
            effects.append(WriteContract(_UNKNOWN + query_key(query), None))
        while len(self._claims) > _CLAIMS_PER_ENTRY * self._entries_max:
            plain, _ = self._claims.popitem(last=False)
            effects.append(WriteContract(_CLAIM + plain, None))
        return effects

    def restore(self, fields: dict[str, bytes], now_ns: int) -> tuple[list[Effect], list[str]]:
        """Loads the `contracts` hash. Returns the deletions of what is over, and the fields that cannot be read."""
        unreadable: list[str] = []
        for field, value in fields.items():
            try:
                self._restore_field(field, value)
            except (msgspec.MsgspecError, ValueError):
                unreadable.append(field)
        self._known = OrderedDict(sorted(self._known.items(), key=lambda item: item[1].resolved_at_ns))
        for entry in self._known.values():
            if self.owns_its_id(entry.contract):
                self._claims.move_to_end(instrument_id(entry.contract))
        effects: list[Effect] = [WriteContract(field, None) for field in unreadable if not field.startswith(_CLAIM)]
        for query in [query for query in self._unknown if self.find_unknown(query, now_ns) is None]:
            del self._unknown[query]
            effects.append(WriteContract(_UNKNOWN + query_key(query), None))
        for query in [query for query, to in self._queries.items() if (to.con_id, to.exchange) not in self._known]:
            del self._queries[query]
            effects.append(WriteContract(_QUERY + query_key(query), None))
        return effects + self._evict(), unreadable

    def _restore_field(self, field: str, value: bytes) -> None:
        if field.startswith(_CLAIM):
            self._claims.setdefault(field[len(_CLAIM) :], int(value))
        elif field.startswith(_CONTRACT):
            entry = _decode_known.decode(value)
            self._known[_place(entry.contract)] = entry
        elif field.startswith(_QUERY):
            self._queries[_decode_asked.decode(field[len(_QUERY) :])] = _decode_query.decode(value)
        elif field.startswith(_UNKNOWN):
            self._unknown[_decode_asked.decode(field[len(_UNKNOWN) :])] = _decode_unknown.decode(value)
        else:
            raise ValueError(f"unknown field {field!r}")

    def fields(self) -> dict[str, bytes]:
        """Everything that the `contracts` hash should hold."""
        fields = {_CLAIM + id_: str(con_id).encode() for id_, con_id in self._claims.items()}
        fields |= {_known_field(con_id, exchange): _encode(entry) for (con_id, exchange), entry in self._known.items()}
        fields |= {_QUERY + query_key(query): _encode(target) for query, target in self._queries.items()}
        return fields | {_UNKNOWN + query_key(query): _encode(entry) for query, entry in self._unknown.items()}

    def sizes(self) -> dict[str, int]:
        """How many entries of each sort there are."""
        return {
            "resolved": len(self._known),
            "queries": len(self._queries),
            "unknown": len(self._unknown),
            "claims": len(self._claims),
        }


def _place(contract: Contract) -> tuple[int, str]:
    """Where a contract is kept: by con_id and exchange, a continuous future apart from the one at the front.

    Combinations, which have no con_id, are kept by their id.
    """
    if contract.legs:
        return 0, contract.instrument
    return contract.con_id, contract.exchange + (_CONTINUOUS if contract.sec_type == "CONTFUT" else "")


def _known_field(con_id: int, exchange: str) -> str:
    return f"{_CONTRACT}{con_id}:{exchange}"
