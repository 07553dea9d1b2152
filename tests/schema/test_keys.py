from __future__ import annotations

from ibkr_actor.schema.keys import KINDS, Keys, Stream

KEYS = Keys()


def test_every_key_has_the_gateway_in_braces() -> None:
    keys = [
        KEYS.stream("quote", "AAPL.STK.SMART.USD"),
        KEYS.last("AAPL.STK.SMART.USD"),
        KEYS.commands(),
        KEYS.commands("strat-1"),
        KEYS.replies("strat-1"),
        KEYS.answered("strat-1"),
        KEYS.all("quote"),
        KEYS.streams,
        KEYS.system,
        KEYS.heartbeat,
        KEYS.subscriptions,
        KEYS.contracts,
        KEYS.dead,
        KEYS.leader,
        KEYS.epoch,
    ]
    assert all(key.startswith("ibkr:{g1}:") for key in keys)
    assert len(set(keys)) == len(keys)


def test_keys_are_spelled_as_the_contract_spells_them() -> None:
    assert KEYS.stream("bar.5s", "EUR.CASH.IDEALPRO.USD") == "ibkr:{g1}:bar.5s:EUR.CASH.IDEALPRO.USD"
    assert Keys("md", "paper").stream("quote", "X") == "md:{paper}:quote:X"
    assert KEYS.commands() == "ibkr:{g1}:commands"
    assert KEYS.commands("a") == "ibkr:{g1}:commands:a"
    assert KEYS.replies("a") == "ibkr:{g1}:replies:a"
    assert KEYS.answered("a") == "ibkr:{g1}:answered:a"
    assert KEYS.last("X") == "ibkr:{g1}:last:X"
    assert KEYS.all("quote") == "ibkr:{g1}:all:quote"
    assert KEYS.subscriptions == "ibkr:{g1}:subscriptions"


def test_a_stream_is_named_as_its_key_ends() -> None:
    stream = Stream("quote", "AAPL.STK.SMART.USD")
    assert KEYS.stream(stream.kind, stream.instrument).endswith(stream.name)


def test_kinds_are_known_once_and_hold_no_colon() -> None:
    assert len(set(KINDS)) == len(KINDS)
    assert not any(":" in kind for kind in KINDS)
