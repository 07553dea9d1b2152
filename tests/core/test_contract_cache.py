"""Claims on canonical ids: who has one, and for how long."""

from __future__ import annotations

from ibkr_actor.core.contracts.cache import ContractCache
from ibkr_actor.core.effects import WriteContract
from ibkr_actor.schema.instruments import Contract, InstrumentQuery

SECOND_NS = 1_000_000_000


def stock(number: int, con_id: int | None = None) -> Contract:
    return Contract(number if con_id is None else con_id, f"S{number}", "STK", "SMART", "USD")


def cache_of(entries_max: int) -> ContractCache:
    return ContractCache(ttl_s=60.0, negative_ttl_s=60.0, entries_max=entries_max)


def put(cache: ContractCache, contract: Contract, at_s: int) -> tuple[str, set[str]]:
    """The contract's id, and the fields that left the hash."""
    query = InstrumentQuery(symbol=contract.symbol, con_id=contract.con_id)
    named, effects = cache.put(query, contract, at_s * SECOND_NS)
    gone = {effect.field for effect in effects if isinstance(effect, WriteContract) and effect.value is None}
    return named.instrument, gone


def test_claims_outlive_contracts_ten_times_and_then_the_one_resolved_longest_ago_goes() -> None:
    cache = cache_of(1)
    for number in range(1, 11):
        assert not any(field.startswith("claim:") for field in put(cache, stock(number), number)[1])
    put(cache, stock(1), 11)
    _, gone = put(cache, stock(11), 12)
    assert "claim:S2.STK.SMART.USD" in gone
    assert cache.sizes()["claims"] == 10
    assert put(cache, stock(1, con_id=99), 13)[0] == "S1.STK.SMART.USD@99"
    assert put(cache, stock(2, con_id=98), 14)[0] == "S2.STK.SMART.USD"


def test_after_a_restart_the_claims_of_known_contracts_are_the_last_to_go() -> None:
    before = cache_of(2)
    for number in range(1, 21):
        put(before, stock(number), number)
    # A hash of Redis gives its fields in any order.
    fields = dict(sorted(before.fields().items(), key=lambda item: item[0] != "claim:S20.STK.SMART.USD"))
    after = cache_of(2)
    after.restore(fields, 30 * SECOND_NS)
    for number in range(21, 39):
        put(after, stock(number), number)
    assert after.owns_its_id(stock(20))
    assert not after.owns_its_id(stock(18))
