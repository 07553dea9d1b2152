"""Each setting governs the part it is named for."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct

from ibkr_actor import configs
from ibkr_actor.load_settings import load_settings
from ibkr_actor.settings import Settings


def _recorded(settings: Settings, name: str) -> Any:
    return getattr(configs.recorder(settings), name, None)


@pytest.mark.parametrize(
    ("setting", "governed"),
    [
        ({"client_id": 5, "client_id_pool": "6,5,7"}, lambda s: configs.session(s).client_ids == (5, 6, 7)),
        ({"market_data_type": 3}, lambda s: configs.session(s).market_data_type == 3),
        ({"reconnect_enabled": False}, lambda s: not configs.session(s).reconnect_enabled),
        ({"reconnect_backoff_ms": 500}, lambda s: configs.session(s).backoff_initial_s == 0.5),
        ({"reconnect_backoff_max_ms": 9_000}, lambda s: configs.session(s).backoff_max_s == 9.0),
        ({"max_reconnect_attempts": 4}, lambda s: configs.session(s).max_attempts == 4),
        ({"read_timeout_sec": 8}, lambda s: configs.session(s).heartbeat_interval_s == 4.0),
        ({"read_timeout_sec": 12}, lambda s: configs.session(s).heartbeat_timeout_s == 7.0),
        ({"gateway_restart": "06:30 Europe/London"}, lambda s: len(configs.session(s).reset_windows) == 3),
        ({"lines": 200}, lambda s: (configs.pacing(s).lines, configs.subscriptions(s).lines) == (200, 200)),
        ({"snapshot_mode": True}, lambda s: configs.subscriptions(s).snapshot_mode),
        ({"use_rth": True}, lambda s: configs.subscriptions(s).use_rth),
        ({"lease_s": 60}, lambda s: configs.subscriptions(s).lease_s == 60),
        ({"stale_after_s": 20}, lambda s: configs.subscriptions(s).stale_min_s == 20),
        ({"stale_probe_s": 0}, lambda s: configs.subscriptions(s).stale_probe_s == 0),
        ({"host": "h", "port": 7497}, lambda s: (configs.gateway(s).host, configs.gateway(s).port) == ("h", 7497)),
        ({"record_dir": "r"}, lambda s: (given := configs.recorder(s)) is not None and given.directory.name == "r"),
        ({"record_dir": "r", "record_max_bytes": 2**28}, lambda s: _recorded(s, "max_bytes") == 2**28),
        ({"record_dir": "r", "record_file_bytes": 2**20}, lambda s: _recorded(s, "file_bytes") == 2**20),
        ({"record_dir": "r", "gateway_name": "g2"}, lambda s: _recorded(s, "gateway") == "g2"),
        ({"encoding": "json"}, lambda s: configs.bus(s, "redis://x").publisher.encoding == "json"),
        ({"retention_entries": 500}, lambda s: configs.bus(s, "redis://x").retention.entries == 500),
        ({"gateway_name": "g2"}, lambda s: configs.bus(s, "redis://x").gateway == "g2"),
        ({"history_cache_bytes": 0}, lambda s: not configs.history(s).cache),
        ({"history_cache_bytes": 5}, lambda s: configs.bus(s, "redis://x").retention.history_cache_bytes == 5),
        ({"history_cache_s": 60}, lambda s: configs.history(s).cache_age_s == 60),
        ({"history_buffer_bytes": 2**20}, lambda s: configs.bus(s, "").retention.history_buffer_bytes == 2**20),
    ],
)
def test_a_setting_reaches_its_part(setting: dict[str, Any], governed: Any) -> None:
    assert governed(load_settings(**setting))
    assert not governed(load_settings())


# What follows from several settings, or is off where a core stands alone.
DERIVED = {"delay_s", "cache"}


def _differences(one: Struct, other: Struct) -> Iterator[str]:
    for name in one.__struct_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, Struct):
            yield from _differences(mine, theirs)
        elif mine != theirs:
            yield name


def test_the_defaults_of_the_parts_are_those_of_the_settings() -> None:
    settings = load_settings()
    found = [
        configs.session(settings), configs.pacing(settings), configs.contracts(settings), configs.reference(settings),
        configs.subscriptions(settings), configs.history(settings), configs.gateway(settings), configs.http(settings),
        configs.bus(settings, "redis://127.0.0.1:6379/0"),
    ]  # fmt: skip
    assert {name for config in found for name in _differences(config, type(config)())} <= DERIVED


# What the process itself reads, in `app` and `cli.run`.
OF_THE_PROCESS = {"redis_url", "http_enabled", "log_level", "inbox_max_bytes", "mailbox_max", "drain_s"}
# Another value of each setting that is no number and no switch, or has neighbours that limit it.
OTHERS: dict[str, Any] = {
    "host": "h", "prefix": "p", "gateway_name": "g2", "gateway_port": 4003, "client_id_pool": (3,),
    "market_data_type": 3, "gateway_restart": "06:30 Europe/London", "encoding": "json", "commanders": ("a",),
    "all_kinds": ("quote",), "data_dir": "d", "http_host": "0.0.0.0", "http_token": "abcdefgh",
    "http_cors_origins": ("*",), "record_dir": "r",
}  # fmt: skip


def _parts(settings: Settings) -> list[object]:
    return [
        configs.session(settings), configs.pacing(settings), configs.contracts(settings), configs.reference(settings),
        configs.subscriptions(settings), configs.history(settings), configs.gateway(settings), configs.http(settings),
        configs.chain_turns(settings), configs.recorder(settings), configs.embedded(settings),
        configs.bus(settings, "redis://127.0.0.1:6379/0"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(Settings.model_fields.keys() - OF_THE_PROCESS))
def test_no_setting_is_without_effect(name: str) -> None:
    default = Settings.model_fields[name].default
    other = OTHERS[name] if name in OTHERS else not default if isinstance(default, bool) else default + 1
    beside: dict[str, Any] = {"record_dir": "r"} if name.startswith("record_") else {}
    before: dict[str, Any] = {} if name == "record_dir" else beside
    assert _parts(load_settings(**beside | {name: other})) != _parts(load_settings(**before))
